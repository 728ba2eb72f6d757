// Replays every trace of a directory on both builds.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { replay } from "./replay.ts";
import { isTrace, missingAbilities, type Trace } from "./trace.ts";

/** What came of one trace. */
export interface Outcome {
  readonly name: string;
  readonly result: "passed" | "failed" | "skipped";
  /** One line: the first difference, or the missing abilities. */
  readonly reason: string;
}

/** The traces of a directory in order of their names; other JSON files there are no traces. */
export function readTraces(directory: string): (Trace | Outcome)[] {
  const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
  const found: (Trace | Outcome)[] = [];
  for (const name of files.sort()) {
    try {
      const content: unknown = JSON.parse(readFileSync(join(directory, name), "utf8"));
      if (isTrace(content)) found.push(content);
      else if (!Array.isArray(content)) {
        found.push({ name, result: "failed", reason: `${name}: is no trace of format 1` });
      }
    } catch (error) {
      found.push({ name, result: "failed", reason: `${name}: ${String(error)}` });
    }
  }
  return found;
}

/** Replays one trace on the release and the checked build. */
export function judge(trace: Trace): Outcome {
  const missing = missingAbilities(trace);
  if (missing.length > 0) {
    return { name: trace.name, result: "skipped", reason: missing.join(", ") };
  }
  for (const checked of [false, true]) {
    try {
      replay(trace, { checked }).dispose();
    } catch (error) {
      const build = checked ? "checked" : "release";
      return { name: trace.name, result: "failed", reason: `[${build}] ${messageOf(error)}` };
    }
  }
  return { name: trace.name, result: "passed", reason: "" };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Replays every trace of a directory. */
export function judgeDirectory(directory: string): Outcome[] {
  return readTraces(directory).map((item) => ("result" in item ? item : judge(item)));
}
