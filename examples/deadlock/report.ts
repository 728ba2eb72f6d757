/** What happened, as text. */

import type { TellerEvent } from "./messages.ts";

const NAME_WIDTH = 6;
const TIME_WIDTH = 8;
const DETAIL = "  DETAIL:  ";

const phrases: Readonly<Record<TellerEvent["what"], string>> = {
  asks: "wants account",
  got: "locks account",
  deadlock: "is told: deadlock detected",
  released: "gives back what it holds, and begins again",
  done: "has done its transfer",
};

/** A line an event: time, thread, what. */
export function timelineText(events: readonly TellerEvent[]): string {
  const start = events[0]?.time ?? 0;
  const lines = events.map(({ time, name, pid, what, account }) => {
    const when = `${(time - start).toFixed(1)} ms`.padStart(TIME_WIDTH + 3);
    const who = `${name.padEnd(NAME_WIDTH)} (process ${pid})`;
    return `${when}   ${who}  ${phrases[what]}${account === undefined ? "" : ` ${account}`}`;
  });
  return `${lines.join("\n")}\n`;
}

/** The deadlocks as psql would show them. */
export function reportText(events: readonly TellerEvent[]): string {
  const reports = events.flatMap(({ name, report }) =>
    report === undefined ? [] : [{ name, report }],
  );
  if (reports.length === 0) return "There was no deadlock.\n";
  return reports
    .map(({ name, report: { code, message, detail, hint } }) => {
      const lines = detail.split("\n").join(`\n${" ".repeat(DETAIL.length)}`);
      return `What ${name} was told:\n
  ERROR:  ${message} (${code})
${DETAIL}${lines}
  HINT:  ${hint}\n`;
    })
    .join("\n");
}

/** The accounts, and that no money was lost. */
export function balancesText(
  balances: readonly (readonly [account: number, balance: number])[],
  opening: number,
): string {
  const total = balances.reduce((sum, [, balance]) => sum + balance, 0);
  const lines = balances.map(([account, balance]) => `  account ${account}: ${balance}`);
  const right = total === opening * balances.length ? "as before" : "WRONG";
  return `Both transfers were made:\n\n${lines.join("\n")}\n  together: ${total}, ${right}\n`;
}
