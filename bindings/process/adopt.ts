/**
 * Foreign resources that die with a context: objects of Emscripten, of wasm-bindgen, disposables.
 *
 * An object has at most one context; adopting it elsewhere moves it. What the contexts hold is
 * found by the object, so that this costs the contexts nothing that adopt nothing.
 */

import { PallocError } from "../abi/errors.ts";
import type { ContextTools } from "./context-tools.ts";

/**
 * What {@link ContextTools.adopt} takes without being told how to end it: the first of these that
 * the object has is called.
 */
export type Adoptable = { [Symbol.dispose](): void } | { free(): void } | { delete(): void };

interface Adoption {
  readonly context: ContextTools;
  readonly end: () => void;
}

const adoptions = new WeakMap<object, Adoption>();
const counts = new WeakMap<ContextTools, number>();

/** Number of objects a context has adopted. @internal */
export function adoptedBy(context: ContextTools): number {
  return counts.get(context) ?? 0;
}

/** Ties an object to a context, taking it from the one that had it. @internal */
export function adopt<T extends object>(
  context: ContextTools,
  resource: T,
  dispose?: (resource: T) => void,
): T {
  const finish = dispose === undefined ? disposerOf(resource) : () => dispose(resource);
  const before = adoptions.get(resource);
  if (before?.context === context) return resource;
  const end = (): void => {
    forget(context, resource);
    finish();
  };
  context.onReset(end);
  if (before !== undefined) unadopt(before.context, resource);
  adoptions.set(resource, { context, end });
  counts.set(context, adoptedBy(context) + 1);
  return resource;
}

/** Takes an object back. @internal */
export function unadopt<T extends object>(context: ContextTools, resource: T): T {
  const adoption = adoptions.get(resource);
  if (adoption?.context !== context) {
    throw new PallocError("42704", `memory context "${context.name}" has not adopted the object`, {
      hint: "A reset or delete ends what was adopted, once; after it there is nothing to take back.",
    });
  }
  context.offReset(adoption.end);
  forget(context, resource);
  return resource;
}

function forget(context: ContextTools, resource: object): void {
  adoptions.delete(resource);
  counts.set(context, adoptedBy(context) - 1);
}

/** A method that can be called without arguments; `Map.prototype.delete` cannot. */
function isEnd(method: unknown): method is () => void {
  return typeof method === "function" && method.length === 0;
}

/** The call that ends an object. Looked up now, so that a mistake shows where it was made. */
function disposerOf(resource: object): () => void {
  const isObject = typeof resource === "object" || typeof resource === "function";
  if (!isObject || resource === null) {
    throw new TypeError(`only an object can be adopted, not ${String(resource)}`);
  }
  const {
    free,
    delete: remove,
    [Symbol.dispose]: dispose,
  } = resource as Record<string | symbol, unknown>;
  for (const method of [dispose, free, remove]) {
    if (isEnd(method)) return () => method.call(resource);
  }
  throw new TypeError(
    "an adopted object needs [Symbol.dispose](), free() or delete(); pass a function to end others",
  );
}
