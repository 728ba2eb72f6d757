/**
 * The current context of a memory, following `await`: for servers on Node that serve several
 * requests at a time in one thread. Needs `node:async_hooks`, hence an entry of its own.
 *
 * @example
 * ```ts
 * import { ProcessMemory } from "palloc";
 * import { followAwait } from "palloc/async-context";
 *
 * const memory = ProcessMemory.createSync();
 * followAwait(memory);
 * const serve = (text: string): Promise<number> =>
 *   memory.top.scope("request", (request) =>
 *     memory.within(request, async () => {
 *       await Promise.resolve();
 *       return memory.current.strdup(text); // in `request`, whoever else was served meanwhile
 *     }),
 *   );
 * await Promise.all([serve("one"), serve("two")]);
 * ```
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type { MemoryContext } from "./process/context.ts";
import type { CurrentStore } from "./process/current.ts";
import type { ProcessMemory } from "./process/memory.ts";
import { MemoryTools } from "./process/memory-tools.ts";

/** Keeps the current context beside the running asynchronous work. */
class AsyncStore implements CurrentStore {
  readonly #storage = new AsyncLocalStorage<MemoryContext>();

  get(): MemoryContext | undefined {
    return this.#storage.getStore();
  }

  set(context: MemoryContext): void {
    this.#storage.enterWith(context);
  }

  run<T>(context: MemoryContext, work: () => T): T {
    return this.#storage.run(context, work);
  }
}

const followed = new WeakSet<ProcessMemory>();

/**
 * From now on `memory.current`, `switchTo` and `within` of this memory are each asynchronous flow's
 * own: what one request chooses is seen by what it awaits and starts, and by no other. `switchTo`
 * lasts to the end of the flow that called it; begin a flow by `within`, whose end restores.
 * Reading the current context costs a look-up in an AsyncLocalStorage. Idempotent.
 *
 * @returns the memory
 */
export function followAwait(memory: ProcessMemory): ProcessMemory {
  if (followed.has(memory)) return memory;
  MemoryTools.keepCurrent(memory, new AsyncStore());
  followed.add(memory);
  return memory;
}
