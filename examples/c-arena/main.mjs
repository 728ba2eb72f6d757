// Counts the words of a text with a C program that allocates in a palloc context.
//
//   node examples/c-arena/main.mjs TEXT

import { readFileSync } from "node:fs";
import { ProcessMemory } from "palloc";

const module = new WebAssembly.Module(readFileSync(new URL("words.wasm", import.meta.url)));

/** An instance of words.wasm over a process memory. */
function instantiate(memory) {
  const { exports } = new WebAssembly.Instance(module, memory.importsFor(module));
  exports.__wasm_call_ctors?.();
  exports.__wasm_apply_data_relocs?.();
  return exports;
}

/** Fields of `struct entry`: next, word, length, count. */
function entryAt(memory, address) {
  const [, word, length, count] = memory.u32.subarray(address >>> 2, (address >>> 2) + 4);
  return { word: new TextDecoder().decode(memory.u8.subarray(word, word + length)), count };
}

const text = new TextEncoder().encode(process.argv[2] ?? "To be, or not to be");
const memory = ProcessMemory.createSync({ maxMemory: "16MB" });
const words = instantiate(memory);

const at = words.room(text.length) >>> 0;
memory.u8.set(text, at);
words.count(at, text.length);

const most = entryAt(memory, words.first(0) >>> 0);
const longest = entryAt(memory, words.first(1) >>> 0);
console.log(`most frequent: ${most.word}, ${most.count} times; longest: ${longest.word}`);

const [arena] = memory.top.children().filter(({ name }) => name === "words");
console.log(`before the reset: ${arena.stats().usedBytes} bytes in use`);
words.forget();
console.log(`after it: ${arena.stats().usedBytes} bytes, the context's own`);
memory.dispose();
