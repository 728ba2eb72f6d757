/**
 * Results as Markdown tables: README.md shows some rows, docs/benchmarks.md all of them with what
 * was to be reached.
 */

import type { RowResult } from "./harness.ts";
import { digits, type Report, verdict } from "./report.ts";

/** Rows that README.md shows: one of each kind, won or lost. */
export const HEADLINES: readonly string[] = [
  "1.palloc-free-64",
  "2.palloc-1000-reset",
  "4.context-life",
  "5.hit-1000-pages",
  "6.hit-vs-string-key",
  "7.miss-clean",
  "8.scan-cold",
  "9.two-workers-1000-pages",
  "10.advisory-lock",
  "11.lwlock-from-js",
  "11.catalog-hit",
  "12.records-memory",
  "12.records-pause",
  "cache.zipf",
  "memory.4-workers",
  "journal.update",
  "queries.origin-time",
  "queries.date-time",
  "queries.date-pause",
];

/** The table of README.md. Bold is what beats us. */
export function headlines(report: Report): string {
  const rows = report.rows.filter(({ id }) => HEADLINES.includes(id));
  const lines = rows.map(({ name, unit, ours, peers }) => {
    const others = Object.entries(peers).map(([peer, theirs]) => {
      const text = `${peer} ${digits(theirs)}`;
      return theirs < (ours ?? Number.NaN) ? `**${text}**` : text;
    });
    return `| ${name} | ${unit} | ${figure(ours)} | ${others.join(" · ")} |`;
  });
  const head = ["| work | median of | palloc | peers |", "|---|---|---|---|"];
  return [...head, ...lines, "", `${whereOf(report)}.`].join("\n");
}

/** The table of docs/benchmarks.md: a line for each peer. */
export function everything(report: Report): string {
  const lines = report.rows.flatMap((row) => Object.keys(row.peers).map((peer) => line(row, peer)));
  const head = [
    "| row | work | palloc | peer | | palloc / peer | at most | |",
    "|---|---|---|---|---|---|---|---|",
  ];
  return [...head, ...lines, "", `${whereOf(report)}, ${report.rounds} rounds.`].join("\n");
}

function line(row: RowResult, peer: string): string {
  const { id, name, unit, ours, peers, ratios, targets } = row;
  const target = targets[peer];
  const cells = [
    `\`${id}\``,
    `${name}, ${unit}`,
    figure(ours),
    peer,
    figure(peers[peer]),
    figure(ratios[peer]),
    target === undefined ? "" : String(target),
    verdict(row, peer),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** A figure, or what stands for one that was not measured. */
function figure(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : digits(value);
}

function whereOf({ machine, node, date }: Report): string {
  return `${machine.cpu}, ${machine.cores} cores, Node ${node}, ${date.slice(0, 10)}`;
}

/**
 * A document with a table put between the two lines that mark its place.
 *
 * @throws if the document has no such place
 */
export function withTable(document: string, table: string): string {
  const [before, rest, ...more] = document.split(BEGIN);
  const end = rest?.indexOf(END) ?? -1;
  if (rest === undefined || end < 0 || more.length > 0) {
    throw new Error(`a document must have one place for a table: ${BEGIN} … ${END}`);
  }
  return `${before}${BEGIN}\n\n${table}\n\n${rest.slice(end)}`;
}

const BEGIN = "<!-- written by npm run bench:publish -->";
const END = "<!-- end of what is written -->";
