/**
 * From results to what is read: one table, the cases we lose in words, one JSON document.
 */

import Table from "cli-table3";
import type { RowResult } from "./harness.ts";
import type { Machine } from "./machine.ts";

/** The document that `--json` writes. */
export interface Report {
  readonly machine: Machine;
  readonly node: string;
  readonly versions: Readonly<Record<string, string>>;
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly rounds: number;
  readonly rows: readonly RowResult[];
  /** Where PostgreSQL's numbers in the rows come from, if there are any on this machine. */
  readonly postgres?: { readonly version: string; readonly date: string };
}

/** Three significant digits, no exponent: 8.21, 57.3, 1,204. */
export function digits(value: number): string {
  const size = Math.abs(value);
  const fraction = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", {
    minimumFractionDigits: fraction,
    maximumFractionDigits: fraction,
  });
}

/** Whether a peer's target was met; "" for a peer that is only compared with. */
export function verdict(result: RowResult, peer: string): "met" | "missed" | "" {
  const ratio = result.ratios[peer];
  const target = result.targets[peer];
  if (ratio === undefined || target === undefined) return "";
  return ratio <= target ? "met" : "missed";
}

const HEAD = [
  "row and work",
  "by",
  "time",
  "min – max",
  "spread",
  "ours / it, middle half",
  "target",
  "",
];
const WORK_WIDTH = 36;

/** The table: a line for ours, then one for every peer and every other form of ours. */
export function tableText(results: readonly RowResult[]): string {
  const table = new Table({
    head: HEAD,
    style: { head: [], border: [], compact: false },
    colWidths: [WORK_WIDTH],
    colAligns: ["left", "left", "right", "right", "right", "right", "right", "left"],
    wordWrap: true,
  });
  for (const result of results) table.push(...linesOf(result));
  return table.toString();
}

function linesOf(result: RowResult): Table.HorizontalTableRow[] {
  const names = Object.keys(result.timings);
  const lines = [
    ...names.map((name) => timedLine(result, name)),
    ...result.rejected.map(({ name }) => [name, "wrong", "", "", "", "", "not timed"]),
  ];
  const work = `${result.id}\n${result.name}; ${result.unit}`;
  return lines.map((line, index) =>
    index === 0 ? [{ content: work, rowSpan: lines.length }, ...line] : line,
  );
}

function timedLine(result: RowResult, name: string): string[] {
  const timing = result.timings[name];
  if (timing === undefined) return [name, "", "", "", "", "", ""];
  const ratio = result.ratios[name];
  const target = result.targets[name];
  return [
    name,
    digits(timing.median),
    `${digits(timing.min)} – ${digits(timing.max)}`,
    `${Math.round(timing.spread * 100)} %`,
    ratio === undefined ? "" : `${ratio.toFixed(2)}, ${rangeText(result, name)}`,
    target === undefined ? "" : `≤ ${target}`,
    verdict(result, name),
  ];
}

function rangeText(result: RowResult, peer: string): string {
  const [low, high] = result.ratioRanges[peer] ?? [Number.NaN, Number.NaN];
  return `${low.toFixed(2)} – ${high.toFixed(2)}`;
}

/** One sentence for each target that lies within what the rounds gave: noise decides over it. */
export function closeCalls(results: readonly RowResult[]): string[] {
  return results.flatMap((result) =>
    Object.keys(result.ratios).flatMap((peer) => {
      const target = result.targets[peer];
      const [low, high] = result.ratioRanges[peer] ?? [0, 0];
      if (target === undefined || target < low || target > high) return [];
      const ratio = (result.ratios[peer] ?? Number.NaN).toFixed(2);
      const range = rangeText(result, peer);
      return [`${result.id}: ratio ${ratio} to ${peer}, rounds ${range}, target ${target}.`];
    }),
  );
}

/** One sentence for each peer that is faster than we are, and for each target that was missed. */
export function losses(results: readonly RowResult[]): string[] {
  return results.flatMap((result) => [
    ...result.rejected.map(({ name, reason }) => `${result.id}: ${name} was not timed: ${reason}.`),
    ...Object.keys(result.ratios).flatMap((peer) => loss(result, peer)),
  ]);
}

function loss(result: RowResult, peer: string): string[] {
  const ratio = result.ratios[peer] ?? 0;
  const target = result.targets[peer];
  if (ratio <= 1 && verdict(result, peer) !== "missed") return [];
  const ours = digits(result.ours ?? Number.NaN);
  const theirs = digits(result.peers[peer] ?? Number.NaN);
  const aim = target === undefined ? "a comparison, no target" : `target ${target}`;
  const outcome = verdict(result, peer);
  return [
    `${result.id}: ${ours} ${result.unit} against ${theirs} of ${peer}, ` +
      `ratio ${ratio.toFixed(2)} (${aim}${outcome === "" ? "" : `, ${outcome}`}).`,
  ];
}

/** How to get a peer that a row has a target for and that was not there. */
const REMEDIES: Readonly<Record<string, string>> = {
  PostgreSQL: "measured by npm run bench:postgres, on this machine since it last started",
  SQLite: "which npm ci --prefix bench installs",
};

/** One sentence for each peer that a row has a target for and that was not there. */
export function absentPeers(results: readonly RowResult[]): string[] {
  return results.flatMap(({ id, targets, ratios, rejected, ours }) =>
    Object.keys(targets)
      .filter((peer) => ours !== null && !(peer in ratios))
      .filter((peer) => !rejected.some(({ name }) => name === peer))
      .map((peer) => `${id}: ${peer}, ${REMEDIES[peer] ?? "which is not available here"}.`),
  );
}
