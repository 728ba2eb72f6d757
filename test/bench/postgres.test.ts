// When numbers of PostgreSQL may be set against ours: measured on this machine, since it started,
// and complete. And what the bench says where they are not.

import { describe, expect, test } from "vitest";
import type { RowResult } from "../../bench/harness.ts";
import {
  type PostgresFile,
  postgresOperations,
  thisBoot,
  usableFile,
} from "../../bench/postgres-file.ts";
import { absentPeers } from "../../bench/report.ts";

const machine = { cpu: "AMD EPYC", cores: 2, memoryBytes: 2 ** 34, os: "Linux 6 x64" };
const boot = "0123456789abcdef";

const file: PostgresFile = {
  kind: "palloc bench:postgres",
  machine,
  boot,
  version: "15.1",
  date: "2026-01-01T00:00:00.000Z",
  operations: Object.fromEntries(
    postgresOperations.map((name, index) => [name, [10 + index, 11 + index]]),
  ) as unknown as PostgresFile["operations"],
};

function usable(changes: object): PostgresFile | undefined {
  return usableFile(JSON.stringify({ ...file, ...changes }), machine, boot);
}

describe("a file of bench:postgres", () => {
  test("counts on the machine that wrote it, until it starts again", () => {
    expect(usable({})).toEqual(file);
    expect(usableFile(JSON.stringify(file), machine, "another boot")).toBeUndefined();
    for (const other of [{ cpu: "Xeon" }, { cores: 4 }, { memoryBytes: 1 }, { os: "Linux 7" }]) {
      expect(usable({ machine: { ...machine, ...other } })).toBeUndefined();
    }
  });

  test("never counts where the system does not tell one boot from another", () => {
    expect(usableFile(JSON.stringify(file), machine, undefined)).toBeUndefined();
    const unknown = JSON.stringify({ ...file, boot: undefined });
    expect(usableFile(unknown, machine, undefined)).toBeUndefined();
  });

  test("does not count if an operation is missing or was not timed", () => {
    const { "lwlock-shared": _, ...rest } = file.operations;
    expect(usable({ operations: rest })).toBeUndefined();
    for (const rounds of [[], [0], [10, null], "10"]) {
      expect(usable({ operations: { ...file.operations, lwlock: rounds } })).toBeUndefined();
    }
  });

  test.each(["", "{", "null", "7", "[]", "{}", '{"kind":"palloc bench:postgres"}'])(
    "%j is no such file",
    (text) => {
      expect(usableFile(text, machine, boot)).toBeUndefined();
    },
  );

  test("a boot has a word that does not change while it lasts and is not the system's own", () => {
    expect(thisBoot()).toBe(thisBoot());
    if (process.platform === "linux") expect(thisBoot()).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe("a peer that was not there", () => {
  const result: RowResult = {
    id: "5.hit-1000-pages",
    name: "",
    unit: "ns",
    ours: 10,
    peers: {},
    ratios: {},
    ratioRanges: {},
    targets: { PostgreSQL: 0.5 },
    also: {},
    timings: {},
    rejected: [],
  };

  test("is named, with what to do about it", () => {
    expect(absentPeers([result])).toEqual([
      "5.hit-1000-pages: PostgreSQL, measured by npm run bench:postgres, on this machine since it " +
        "last started.",
    ]);
  });

  test("is not absent if it was measured, or rejected, or ours was", () => {
    expect(absentPeers([{ ...result, ratios: { PostgreSQL: 0.4 } }])).toEqual([]);
    const rejected = [{ name: "PostgreSQL", reason: "no" }];
    expect(absentPeers([{ ...result, rejected }])).toEqual([]);
    expect(absentPeers([{ ...result, ours: null }])).toEqual([]);
  });
});
