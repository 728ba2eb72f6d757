// Compiles request.ts with palloc's allocator in it and lets it handle some requests.
//
//   node examples/assemblyscript-request/main.mjs

import { readFileSync, statSync } from "node:fs";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const OPTIONS = "-O3 --noAssert --runtime stub --maximumMemory 1024".split(" ");
// palloc's compile-time switches; and no message for an abort that cannot come.
const SWITCHES = "--use abort= --use CHECKING=0 --use SIMULATION=0".split(" ");
// Static data may lie in the bytes 1024 to 4095; palloc's blocks begin behind them.
const PLACE = "--memoryBase 1024".split(" ");

const folder = fileURLToPath(new URL(".", import.meta.url));
/** Where the package palloc is, installed or not: asc alone looks in node_modules only. */
const palloc = fileURLToPath(new URL("..", import.meta.resolve("palloc/assembly/process.ts")));
const installed = join("node_modules", "palloc") + sep;

async function compile() {
  const written = new Map();
  const { error, stderr } = await asc.main(
    ["request.ts", "--outFile", "request.wasm", ...OPTIONS, ...SWITCHES, ...PLACE],
    {
      readFile: (name) => {
        const [, inside] = join(name).split(installed);
        const path = inside === undefined ? join(folder, name) : join(palloc, inside);
        return statSync(path, { throwIfNoEntry: false })?.isFile()
          ? readFileSync(path, "utf8")
          : null;
      },
      writeFile: (name, contents) => written.set(name, contents),
      listFiles: () => [],
    },
  );
  if (error !== null) throw new Error(`request.ts did not compile: ${stderr.toString()}`);
  return written.get("request.wasm");
}

const module = await WebAssembly.compile(await compile());
// The allocator asks its host for one thing: to run callbacks, which this program never registers.
const { exports: program } = await WebAssembly.instantiate(module, { host: { callbacks() {} } });

program.start();
for (const orders of [10, 1000, 100_000]) {
  const most = program.handle(orders, 97);
  const before = program.usedBytes();
  program.finish();
  const after = `${program.usedBytes()} after the reset`;
  console.log(`${orders} orders: at most ${most} of a product; ${before} bytes, ${after}`);
}
