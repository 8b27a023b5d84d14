/**
 * One stream for all tabs of a browser: over HTTP/1.1 it opens six connections to a server at most,
 * and a seventh tab would wait for ever, with whatever it wants to order.
 */

import { listen, type Listener } from "./api";
import type { Frame } from "./contract";

/** What the tab that listens to the server says to the others. */
type Word = { frame: Frame } | { lost: true };

/**
 * Listens to the frames of a run after the one that `after` names. The first tab of a run has the
 * stream and passes the frames on; when it goes, another goes on where that stopped. Gives back what
 * ends it.
 */
export function share(run: string, after: () => number, listener: Listener): () => void {
  // browsers have locks only where nobody can change a page on its way
  if (!("locks" in navigator)) return listen(after(), listener);
  const name = `starling ${run}`;
  const others = new BroadcastChannel(name);
  const say = (word: Word) => others.postMessage(word);
  const end = new AbortController();
  others.onmessage = ({ data }: MessageEvent<Word>) => {
    if ("lost" in data) return listener.onError(false);
    listener.onOpen();
    listener.onFrame(data.frame);
  };
  const lead = () =>
    new Promise<void>((release) => {
      const close = listen(after(), {
        ...listener,
        onFrame: (frame) => {
          say({ frame });
          listener.onFrame(frame);
        },
        onError: (isFinal) => {
          say({ lost: true });
          listener.onError(isFinal);
        },
      });
      end.signal.addEventListener("abort", () => {
        close();
        release();
      });
    });
  const turn = navigator.locks.request(name, { signal: end.signal }, () =>
    end.signal.aborted ? undefined : lead(),
  );
  // a tab that ends before its turn leaves the queue
  turn.catch(() => undefined);
  return () => {
    end.abort();
    others.close();
  };
}
