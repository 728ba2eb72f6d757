// What a backend of a schedule asks of whoever drives it: the requests that its operations yield.
//
// An operation is a generator. Between two yields it calls exports of shared.wasm, each of which
// may be stopped at any of its steps; what it cannot do by itself - sleep, read, write, look again
// later - it yields, and goes on when it has been done. The routines of bindings that wait in
// several ways have the same form, so that they can be driven here as they are.
//
// What a request changes outside wasm is done once, by the driver. The generator itself may be run
// anew from its beginning, with the same answers, whenever one of its calls was stopped half way.

import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import type { World } from "./world.ts";

/** One thing an operation asks for. */
export type Request =
  /** Sleep on the word that is registered in the slot. */
  | { readonly do: "sleep" }
  /** As sleep, but TypeScript waits on the word, as a thread does that must not block. */
  | { readonly do: "await"; readonly at: number; readonly value: number }
  /** TypeScript wakes who waits on a word. */
  | { readonly do: "wake"; readonly at: number }
  /** Nothing to sleep on: let others go first, then look again. */
  | { readonly do: "tired" }
  /** Storage reads a block into a frame, in two halves. */
  | { readonly do: "read"; readonly buffer: number; readonly file: number; readonly block: number }
  /** A frame is copied to private memory, and storage writes the copy: four halves. */
  | { readonly do: "write"; readonly buffer: number; readonly file: number; readonly block: number }
  /** Storage reads a block into private memory, in two halves; answers both versions. */
  | { readonly do: "fetch"; readonly file: number; readonly block: number }
  /** Storage appends images to a journal: torn first, then whole. */
  | {
      readonly do: "journal";
      readonly journal: number;
      readonly first: number;
      readonly images: readonly Image[];
    }
  | { readonly do: "syncJournal"; readonly journal: number }
  /** Answers which frame a page that the backend writes is in. */
  | { readonly do: "find"; readonly file: number; readonly block: number }
  /** The bytes of a page are looked at, in two halves; answers the version. */
  | { readonly do: "look"; readonly buffer: number; readonly file: number; readonly block: number }
  /** The bytes of a page are changed, in two halves: the next version. */
  | { readonly do: "stamp"; readonly buffer: number; readonly file: number; readonly block: number }
  /** From now on, or no longer, the backend counts on something. */
  | { readonly do: "note"; readonly note: Note }
  /** The owner waits until a backend dies or wants to attach; if `busy` it only asks. */
  | { readonly do: "idle"; readonly busy: boolean };

/** What a backend counts on; the checks hold it true at every step. */
export type Note =
  | {
      readonly kind: "pinned" | "unpinned";
      readonly buffer: number;
      readonly file: number;
      readonly block: number;
    }
  | { readonly kind: "shared" | "exclusive" | "unlocked"; readonly buffer: number }
  /** Nobody else had a pin when the cleanup lock was got. */
  | { readonly kind: "alone"; readonly buffer: number }
  | { readonly kind: "named" | "unnamed"; readonly lock: number }
  | { readonly kind: "changed" | "undone"; readonly file: number; readonly block: number }
  | { readonly kind: "zeroing" | "zeroed"; readonly file: number; readonly block: number }
  | { readonly kind: "checkpoint begins" | "checkpoint ends" }
  | { readonly kind: "drop begins" | "drop ends" | "uses"; readonly file: number }
  | { readonly kind: "left" }
  | { readonly kind: "attached"; readonly slot: number };

/** An image of a page in a journal: identity and version of both halves. */
export interface Image {
  readonly file: number;
  readonly block: number;
  readonly marks: readonly number[];
}

/** Something that TypeScript does by itself, in one step. */
export interface Deed<Result> {
  /** Address of the word it touches; 0 for storage, where a backend may always be stopped. */
  readonly at: number;
  readonly writes: boolean;
  readonly act: (world: World) => Result;
}

/** What an operation is given. */
export interface Actor {
  readonly x: SharedExports;
  /** A word of the region; only of what nobody else writes. */
  readonly word: (address: number) => number;
  /** Does something in one step; once, however often the operation is made anew. */
  readonly once: <Result>(deed: Deed<Result>) => Result;
  /** The region's memory. */
  readonly memory: SharedArrayBuffer;
  /** The slot it begins in. */
  readonly slot: number;
  /** Slots of the region, the owner's 0 included. */
  readonly slots: number;
  readonly buffers: number;
  /** Whether reads go through a queue, to I/O workers. */
  readonly queued: boolean;
}

/** A backend's whole life in a schedule. */
export type Script = (actor: Actor) => Operation<unknown>;

export type Operation<Result> = Generator<Request, Result, number>;
