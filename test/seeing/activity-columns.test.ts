// Compares the rows of activity and the names of wait events with a real PostgreSQL's: columns that
// are here have its names and its order, and every event that can be shown is one of its own.

import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { allWaitEvents } from "../../bindings/shared/wait-events.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";

/** Ours alone. */
const OWN_COLUMNS = ["slot"];
let postgres: PGlite;

beforeAll(async () => {
  postgres = await PGlite.create();
}, 60_000);

afterAll(() => postgres.close());

describe("a row of activity", () => {
  it("has columns of pg_stat_activity, in its order, with values of its types", async () => {
    const shared = await SharedMemory.create({
      settings: { shared_buffers: "128kB" },
      storage: memoryStorage(),
    });
    using backend = Backend.attachSync(shared.handle, { role: "postgres" });
    backend.reportActivity("active", "select * from pg_stat_activity");
    const [row = {}] = shared.activity() as object[];
    const { fields, rows } = await postgres.query("select * from pg_stat_activity");
    const theirs = fields.map(({ name }) => name);
    const ours = Object.keys(row).filter((name) => !OWN_COLUMNS.includes(name));
    expect(theirs.filter((name) => ours.includes(name))).toEqual(ours);
    const real = rows[0] as Readonly<Record<string, unknown>>;
    const { state, query } = real as { readonly state?: unknown; readonly query?: unknown };
    expect(row).toMatchObject({ state, query });
    for (const time of ["backend_start", "query_start", "state_change"]) {
      expect(real[time]).toBeInstanceOf(Date);
      expect((row as Readonly<Record<string, unknown>>)[time]).toBeInstanceOf(Date);
    }
    backend.detach();
    await shared.close();
  });

  it("names wait events as pg_wait_events does", async () => {
    const { rows } = await postgres.query<{ type: string; name: string }>(
      "select type, name from pg_wait_events",
    );
    const known = new Set(rows.map(({ type, name }) => `${type}/${name}`));
    const events = allWaitEvents().map((event) => `${event.wait_event_type}/${event.wait_event}`);
    expect(events.length).toBeGreaterThan(20);
    expect(events.filter((event) => !known.has(event))).toEqual([]);
  });
});
