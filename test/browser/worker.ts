// One backend in a Web Worker. It does what the page asks for and answers each request once.

import {
  Backend,
  initPage,
  type Relation,
  type SharedMemoryHandle,
} from "../../dist/bindings/index.js";

/** What the page may ask for. */
export type Request =
  | { readonly ask: "attach"; readonly handle: SharedMemoryHandle }
  | { readonly ask: "create"; readonly name: string; readonly blocks: number }
  | { readonly ask: "count"; readonly name: string; readonly rounds: number }
  | { readonly ask: "sum"; readonly name: string }
  | { readonly ask: "pin"; readonly name: string; readonly block: number }
  | { readonly ask: "detach" };

/** A number, or what went wrong. */
export type Answer = { readonly value: number } | { readonly error: string };

/** Where on each page the counter stands. */
const COUNTER = 64;

let backend: Backend | undefined;

function attached(): Backend {
  if (backend === undefined) throw new Error("the worker is not attached");
  return backend;
}

function counterOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + COUNTER, 4);
}

function create(name: string, blocks: number): number {
  const relation = attached().createRelationSync(name);
  for (let block = 0; block < blocks; block++) {
    attached().buffers.extendSync(relation);
    attached().buffers.changeSync(relation, block, (bytes) => initPage(bytes));
  }
  return relation.blocksSync();
}

/** Adds one to the counter of every page, `rounds` times. */
function count(relation: Relation, rounds: number): number {
  const blocks = relation.blocksSync();
  for (let round = 0; round < rounds; round++) {
    for (let block = 0; block < blocks; block++) {
      attached().buffers.changeSync(relation, block, (bytes) => {
        const counter = counterOf(bytes);
        counter.setUint32(0, counter.getUint32(0) + 1);
      });
    }
  }
  return rounds * blocks;
}

function sum(relation: Relation): number {
  let total = 0;
  for (let block = 0; block < relation.blocksSync(); block++) {
    const page = attached().buffers.readSync(relation, block);
    total += counterOf(page.bytes).getUint32(0);
    page[Symbol.dispose]();
  }
  return total;
}

async function answer(request: Request): Promise<number> {
  switch (request.ask) {
    case "attach":
      backend = await Backend.attach(request.handle);
      return 0;
    case "create":
      return create(request.name, request.blocks);
    case "count":
      return count(attached().openRelationSync(request.name), request.rounds);
    case "sum":
      return sum(attached().openRelationSync(request.name));
    case "pin":
      return attached().buffers.pin(attached().openRelationSync(request.name).id, request.block);
    case "detach":
      attached().detach();
      return 0;
  }
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  answer(data).then(
    (value) => self.postMessage({ value } satisfies Answer),
    (error: Error) => self.postMessage({ error: `${error.name}: ${error.message}` }),
  );
};
