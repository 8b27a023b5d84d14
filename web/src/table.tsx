/** A table that can be sorted, with at most a screenful of rows in the document. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { count } from "./format";

/** Most rows in the document at a time. */
export const MAX_ROWS = 60;

export interface Column<Row> {
  key: string;
  label: string;
  /** Explanation of the label. */
  about?: string;
  /** What rows are sorted by. */
  value: (row: Row) => number | string;
  /** What is shown; the value itself if it is left out. */
  show?: (row: Row) => ComponentChildren;
  /** True for words, which are aligned to the left and sorted from A. */
  words?: boolean;
}

interface Props<Row> {
  /** What the table lists, for those who cannot see where it stands. */
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  id: (row: Row) => string | number;
  /** Row that stays at the top. */
  pinned?: Row;
  /** Sorting at first; without one the rows stay in their order. */
  sort?: { key: string; descending: boolean };
  /** Words in place of a table without rows. */
  none: string;
}

export function Table<Row>({ label, columns, rows, id, pinned, sort, none }: Props<Row>) {
  const [sorting, setSorting] = useState(sort);
  const [page, setPage] = useState(0);
  if (rows.length === 0 && pinned === undefined) return <p class="none">{none}</p>;
  const by = columns.find((column) => column.key === sorting?.key);
  const ordered = by ? [...rows].sort(order(by, sorting!.descending)) : rows;
  const pages = Math.max(1, Math.ceil(ordered.length / MAX_ROWS));
  const current = Math.min(page, pages - 1);
  const shown = ordered.slice(current * MAX_ROWS, (current + 1) * MAX_ROWS);
  const choose = (column: Column<Row>) => {
    const descending =
      sorting?.key === column.key ? !sorting.descending : !column.words;
    setSorting({ key: column.key, descending });
    setPage(0);
  };
  const line = (row: Row) =>
    columns.map((column, index) => {
      const content = column.show ? column.show(row) : column.value(row);
      const kind = column.words ? "words" : undefined;
      return index === 0 ? (
        <th scope="row" key={column.key} class={kind}>
          {content}
        </th>
      ) : (
        <td key={column.key} class={kind}>
          {content}
        </td>
      );
    });
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label={label}>
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th
                  scope="col"
                  key={column.key}
                  class={column.words ? "words" : undefined}
                  aria-sort={direction(sorting, column.key)}
                  title={column.about}
                >
                  <button type="button" onClick={() => choose(column)}>
                    {column.label}
                    <span aria-hidden="true" class="arrow">
                      {sorting?.key === column.key ? (sorting.descending ? "▼" : "▲") : ""}
                    </span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {pinned !== undefined && <tr class="pinned">{line(pinned)}</tr>}
            {shown.map((row) => (
              <tr key={id(row)}>{line(row)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {pages > 1 && (
        <p class="pager">
          <button type="button" disabled={current === 0} onClick={() => setPage(current - 1)}>
            Previous
          </button>
          <span>
            {count(current * MAX_ROWS + 1)} to {count(current * MAX_ROWS + shown.length)} of{" "}
            {count(ordered.length)}
          </span>
          <button
            type="button"
            disabled={current === pages - 1}
            onClick={() => setPage(current + 1)}
          >
            Next
          </button>
        </p>
      )}
    </>
  );
}

function direction(
  sorting: { key: string; descending: boolean } | undefined,
  key: string,
): "ascending" | "descending" | "none" {
  if (sorting?.key !== key) return "none";
  return sorting.descending ? "descending" : "ascending";
}

function order<Row>(by: Column<Row>, descending: boolean): (a: Row, b: Row) => number {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const [left, right] = [by.value(a), by.value(b)];
    const compared =
      typeof left === "number" && typeof right === "number"
        ? left - right
        : String(left).localeCompare(String(right));
    return sign * compared;
  };
}
