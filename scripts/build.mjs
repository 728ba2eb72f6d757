// Builds palloc: two WebAssembly modules in eight variants, then all TypeScript, into dist/.
//
//   node scripts/build.mjs [--quiet] [--force]
//
// Each step keeps a digest of what it read; a step whose inputs have not changed is skipped, so
// `npm start` costs nothing the second time.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const quiet = process.argv.includes("--quiet");
const force = process.argv.includes("--force");

/** name of the asconfig target → its entry file; `embed` goes into the JavaScript as base64. */
const modules = [
  { target: "process-release", entry: "assembly/process.ts", embed: true },
  { target: "process-checked", entry: "assembly/process.ts", embed: true },
  { target: "process-bench", entry: "assembly/bench-driver.ts", embed: false },
  { target: "shared-release", entry: "assembly/shared.ts", embed: true },
  { target: "shared-checked", entry: "assembly/shared.ts", embed: true },
  { target: "shared-points", entry: "assembly/shared.ts", embed: false },
  { target: "shared-bench", entry: "assembly/lock-bench-driver.ts", embed: false },
  { target: "shared-simulation", entry: "assembly/shared.ts", embed: false },
  { target: "shared-simulation-races", entry: "assembly/shared.ts", embed: false },
];

function say(line) {
  if (!quiet) console.log(line);
}

function filesBelow(folder, ending) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function digestOf(files) {
  const hash = createHash("sha256");
  for (const file of files) {
    hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex");
}

/**
 * Runs `work` unless the files it reads are those of its last success and its outputs still stand.
 */
async function step(name, inputs, outputs, work) {
  const stamp = join(root, "dist", ".stamps", name);
  const digest = digestOf(inputs);
  const current =
    !force &&
    outputs.every((file) => existsSync(file)) &&
    existsSync(stamp) &&
    readFileSync(stamp, "utf8") === digest;
  if (current) {
    say(`${name}: current`);
    return;
  }
  const started = performance.now();
  rmSync(stamp, { force: true });
  await work();
  mkdirSync(join(root, "dist", ".stamps"), { recursive: true });
  writeFileSync(stamp, digest);
  say(`${name}: built in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

async function compileWasm() {
  const { default: asc } = await import("assemblyscript/asc");
  for (const { target, entry } of modules) {
    const { error, stderr } = await asc.main(
      [entry, "--target", target, "--textFile", `dist/wasm/${target}.wat`],
      {
        readFile: (name, base) => readIfThere(join(base, name)),
        writeFile: (name, contents, base) => {
          mkdirSync(join(base, name, ".."), { recursive: true });
          writeFileSync(join(base, name), contents);
        },
      },
    );
    if (error) fail(`asc ${target}`, `${stderr.toString()}${error.message}`);
  }
  embedWasm();
}

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, "utf8") : null;
}

/**
 * One TypeScript file a module, holding its bytes: bundlers, workers and test runners need no rule.
 */
function embedWasm() {
  const folder = join(root, "bindings/abi/embedded");
  mkdirSync(folder, { recursive: true });
  for (const { target, embed } of modules) {
    if (!embed) continue;
    const bytes = readFileSync(join(root, `dist/wasm/${target}.wasm`)).toString("base64");
    const text = `// Made by scripts/build.mjs from dist/wasm/${target}.wasm.\nexport const base64: string =\n  "${bytes}";\n`;
    writeFileSync(join(folder, `${target}.ts`), text);
  }
}

function compileTypeScript() {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const run = spawnSync(process.execPath, [tsc, "-p", root], { cwd: root, encoding: "utf8" });
  if (run.status !== 0) fail("tsc", run.stdout + run.stderr);
}

function fail(what, text) {
  console.error(`${what} failed:\n${text}`);
  process.exit(1);
}

process.chdir(root);
const script = fileURLToPath(import.meta.url);
const config = ["asconfig.json", "package.json"].map((name) => join(root, name));
await step(
  "wasm",
  [script, ...config, ...filesBelow(join(root, "assembly"), ".ts")],
  [
    ...modules.map(({ target }) => join(root, `dist/wasm/${target}.wasm`)),
    ...modules
      .filter(({ embed }) => embed)
      .map(({ target }) => join(root, `bindings/abi/embedded/${target}.ts`)),
  ],
  compileWasm,
);
await step(
  "typescript",
  [
    script,
    ...["tsconfig.json", "tsconfig.base.json", "package.json"].map((name) => join(root, name)),
    join(root, "assembly/common/constants.ts"),
    ...["bindings", "examples", "bench", "test"].flatMap((folder) =>
      filesBelow(join(root, folder), ".ts"),
    ),
  ],
  [join(root, "dist/bindings/index.js"), join(root, "dist/examples/flights/main.js")],
  compileTypeScript,
);
