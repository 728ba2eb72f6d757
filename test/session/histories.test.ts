// Random histories of transactions, savepoints, rollbacks, settings and queries against a model of
// a page. After each step: answer, values, the contexts that ought to be there, and the backend's
// settings. In the end nothing is left: the variables' context has as many bytes in use as before.

import { describe, expect, it } from "vitest";
import { PallocError, Session } from "../../bindings/index.ts";
import { openPool, stamped } from "../support/pool.ts";
import { Random, seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { perform, randomCommand, sqlOf, VARIABLES } from "./commands.ts";
import { Model, outline } from "./model.ts";

const HISTORIES = 60;
const STEPS = 60;

function valuesOf(session: Session): Record<string, string> {
  const shown = (name: string): string => {
    try {
      return session.show(name);
    } catch (error) {
      if (error instanceof PallocError && error.code === "42704") return "";
      throw error;
    }
  };
  return Object.fromEntries(VARIABLES.map((name) => [name, shown(name)]));
}

/** How many contexts of a name there are. */
function contexts(session: Session, name: string): number {
  return session.backend.memory.rows().filter((row) => row.name === name).length;
}

describe.each(builds)("random histories, %s build", (_, checked) => {
  it("do what the model does, and leave nothing", async () => {
    const pool = await openPool({ checked, files: false });
    const backend = pool.attach({ memory: { maxMemory: "8MB", checked } });
    const warnings: string[] = [];
    const session = Session.open(backend, {
      onMessage: ({ code, message }) => warnings.push(`${code} ${message}`),
    });
    session.set("made.up", "");
    session.resetAll();
    const before = backend.memory.rows().map(({ name, used_bytes }) => [name, used_bytes]);
    for (let history = 0; history < HISTORIES; history += 1) {
      const random = new Random(seed + history);
      const model = new Model();
      const done: string[] = [];
      for (let step = 0; step < STEPS; step += 1) {
        const command = randomCommand(random);
        done.push(sqlOf(command)[0]);
        const where = `seed ${seed + history}: ${done.join("; ")}`;
        const expected = model.give(command);
        expect(outline(perform(session, command, warnings)), where).toEqual(expected);
        expect(valuesOf(session), where).toEqual(model.values());
        expect(contexts(session, "CurTransactionContext"), where).toBeLessThan(
          Math.max(model.depth, 1),
        );
        expect(backend.settings.show("work_mem"), where).toBe(session.show("work_mem"));
      }
      session.rollback();
      session.resetAll();
      warnings.splice(0);
    }
    const left = backend.memory.rows().map(({ name, used_bytes }) => [name, used_bytes]);
    expect(left.filter(([name]) => !`${name}`.startsWith("T"))).toEqual(
      before.filter(([name]) => !`${name}`.startsWith("T")),
    );
    session.close();
    expect(backend.memory.rows().map(({ name }) => name)).toEqual([
      "TopMemoryContext",
      "ErrorContext",
    ]);
  });

  it("with pins: each goes with the level that took it, and no page stays pinned", async () => {
    const pool = await openPool({ checked, files: false });
    const backend = pool.attach();
    const relation = stamped(backend, "r", 12);
    const leaks: string[] = [];
    const session = Session.open(backend, { onMessage: ({ message }) => leaks.push(message) });
    for (let history = 0; history < HISTORIES; history += 1) {
      const random = new Random(seed + 1000 + history);
      /** Pins that each level ought to have. */
      const levels: number[] = [0];
      session.begin();
      const done: string[] = [];
      for (let step = 0; step < 30; step += 1) {
        const roll = random.below(10);
        done.push(String(roll));
        const where = `seed ${seed + 1000 + history}: ${done.join(" ")}`;
        leaks.splice(0);
        const here = levels.length - 1;
        if (roll < 4) {
          backend.buffers.pin(relation.id, random.below(12));
          levels[here] = (levels[here] ?? 0) + 1;
        } else if (roll < 6) {
          session.savepoint("s");
          levels.push(0);
        } else if (roll < 7) {
          const block = random.below(12);
          session.query("q", () => backend.buffers.pin(relation.id, block));
          expect(leaks, where).toEqual([expect.stringContaining(`blockNum=${block},`)]);
        } else if (levels.length > 1) {
          const isRelease = roll < 8;
          const had = levels.pop() ?? 0;
          if (isRelease) session.release("s");
          else {
            session.rollbackTo("s");
            levels.push(0);
          }
          expect(leaks.length === 0, where).toBe(!isRelease || had === 0);
        }
        const pins = backend.buffers.leakedPins().reduce((sum, each) => sum + each.pins, 0);
        expect(pins, where).toBe(levels.reduce((sum, each) => sum + each, 0));
      }
      if (random.below(2) === 0) session.rollback();
      else session.commit();
      expect(backend.buffers.leakedPins()).toEqual([]);
    }
  });
});
