// Bundles the page into dist, each file also as gzip: the program holds both and packs nothing.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const names = ["index.html", "app.js", "app.css", "icon.svg"];

/** Version of a library, as it is installed. */
async function version(library) {
  return JSON.parse(await readFile(`node_modules/${library}/package.json`, "utf8")).version;
}

await mkdir("dist", { recursive: true });
await build({
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  minify: true,
  target: "es2022",
  format: "esm",
  // The licences of both libraries ask for their notice in every copy.
  legalComments: "eof",
  banner: {
    js: `/*! Preact ${await version("preact")}, MIT, (c) Jason Miller; uPlot ${await version("uplot")}, MIT, (c) Leon Sorokin */`,
  },
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: "dist",
  logLevel: "warning",
});
await copyFile("src/index.html", "dist/index.html");
await copyFile("src/icon.svg", "dist/icon.svg");
for (const name of names) {
  const plain = await readFile(`dist/${name}`);
  const packed = gzipSync(plain, { level: 9 });
  await writeFile(`dist/${name}.gz`, packed);
  console.log(`${name}: ${plain.length} bytes, ${packed.length} packed`);
}
