/**
 * Contexts whose handle was collected although nobody had deleted them.
 *
 * The tree holds the handles of its contexts, so that by itself none is ever collected, and no
 * context dies behind the program's back. A memory that is made with `onCollected` gives out
 * stand-ins instead, which the tree does not hold: a Proxy around each handle that passes every
 * call on, for a price. When a stand-in is collected and its context still lives, the program is
 * told; it may delete the context then. A context counts as lost only when no stand-in of it or of
 * one below it is left, because `parent` leads from those to it.
 *
 * What keeps a stand-in alive: variables, closures (also those given to `onReset`), being current.
 *
 * @see PostgreSQL: none; C forgets pointers silently
 */

import { CONTEXT_PARENT_OFFSET } from "../../assembly/common/constants.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import { subtreeOf } from "./rows.ts";
import { callerStack } from "./sites.ts";

/** A context that the program can no longer reach: what `onCollected` receives. */
export interface CollectedContext {
  readonly name: string;
  readonly ident: string | null;
  /** Bytes in use in it and everything below. */
  readonly usedBytes: number;
  /** Checked memories: the call stack of its creation. */
  readonly creationSite: string | undefined;
  /** The context itself, to be deleted or taken up again. */
  readonly context: MemoryContext;
}

/** The stand-in of a context that was given out. */
interface Lent {
  standIn: WeakRef<MemoryContext>;
  readonly creationSite: string | undefined;
  reported: boolean;
}

/** The methods whose result is a context that the caller is to delete. */
const makers: ReadonlySet<string | symbol> = new Set([
  "createChild",
  "createGeneration",
  "createSlab",
  "createBump",
]);

/** The stand-ins of one memory. @internal */
export class CollectedContexts {
  readonly #core: ProcessCore;
  readonly #onCollected: (lost: CollectedContext) => void;
  readonly #lent: WeakMap<MemoryContext, Lent> = new WeakMap();
  /** From stand-in to context. */
  readonly #behind: WeakMap<object, MemoryContext> = new WeakMap();
  readonly #registry: FinalizationRegistry<MemoryContext>;

  constructor(core: ProcessCore, onCollected: (lost: CollectedContext) => void) {
    this.#core = core;
    this.#onCollected = onCollected;
    this.#registry = new FinalizationRegistry((context) => this.#collected(context));
  }

  /** The stand-in to give out for a context. A permanent one is never lost. */
  lend(context: MemoryContext, permanent = false): MemoryContext {
    const lent = this.#lent.get(context);
    const present = lent?.standIn.deref();
    if (present !== undefined) return present;
    const standIn = new Proxy(context, {
      get: (target, key, receiver) => this.#answer(target, key, receiver),
      set: (target, key, value) => Reflect.set(target, key, value, target),
    });
    this.#behind.set(standIn, context);
    if (lent === undefined) {
      const creationSite = this.#core.sites === undefined ? undefined : callerStack();
      this.#lent.set(context, { standIn: new WeakRef(standIn), creationSite, reported: permanent });
    } else lent.standIn = new WeakRef(standIn);
    this.#registry.register(standIn, context);
    return standIn;
  }

  /** Contexts leave as their stand-ins; those that were never lent, as they are. */
  outward(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.outward(item));
    const isLent = typeof value === "object" && value !== null && this.#lent.has(value as never);
    return isLent ? this.lend(value as MemoryContext) : value;
  }

  /** What a stand-in gives for a property: methods with the context as `this`. */
  #answer(context: MemoryContext, key: string | symbol, standIn: unknown): unknown {
    const value: unknown = Reflect.get(context, key, context);
    if (typeof value !== "function") return this.outward(value);
    // A scope makes its context by a public method: through the stand-in it gets one, too.
    const self = key === "scope" ? standIn : context;
    const isMaker = makers.has(key);
    return (...args: unknown[]): unknown => {
      const inward = args.map((arg) => this.#inward(arg));
      const result: unknown = Reflect.apply(value, self, inward);
      return isMaker ? this.lend(result as MemoryContext) : this.outward(result);
    };
  }

  #inward(value: unknown): unknown {
    return typeof value === "object" && value !== null ? (this.#behind.get(value) ?? value) : value;
  }

  /** A stand-in has gone: its context may be lost, and so may those above it. */
  #collected(context: MemoryContext): void {
    if (context.closed) return;
    for (let at = context.address as number; at !== 0; at = this.#above(at)) {
      const handle = this.#core.handleAt(at);
      const lent = handle === undefined ? undefined : this.#lent.get(handle);
      if (handle === undefined || lent === undefined || lent.reported || !this.#isLost(at)) return;
      lent.reported = true;
      const { usedBytes } = handle.stats(true);
      const { name, ident } = handle;
      const { creationSite } = lent;
      const above = this.#above(at);
      this.#onCollected({ name, ident, usedBytes, creationSite, context: handle });
      if (handle.closed) {
        // The program deleted it; what is above may have been waiting for just that.
        const next = this.#core.handleAt(above);
        if (next !== undefined && this.#lent.has(next)) this.#collected(next);
        return;
      }
    }
  }

  #above(context: number): number {
    return this.#core.word(context, CONTEXT_PARENT_OFFSET);
  }

  /** Whether neither the context nor one below it can be reached. */
  #isLost(context: number): boolean {
    return subtreeOf(this.#core, context).every((below) => {
      const handle = this.#core.handleAt(below);
      return handle === undefined || this.#lent.get(handle)?.standIn.deref() === undefined;
    });
  }
}
