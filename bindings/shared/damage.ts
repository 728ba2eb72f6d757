/**
 * What is done about a page that storage has, but that is none. As a rule the read fails. A caller
 * may ask for zeroes instead, and two parameters change the rule for every read of a backend:
 *
 *   zero_damaged_pages        the page reads as zeroes, with a warning
 *   ignore_checksum_failure   a page whose header is sane is taken as it is, with a warning
 *
 * The second goes first, as in PostgreSQL: what can be taken is not thrown away.
 *
 * PostgreSQL: src/backend/storage/page/bufpage.c, PageIsVerified; buffer/bufmgr.c,
 * buffer_readv_report
 */

import { PAGE_BAD_CHECKSUM, PAGE_BAD_HEADER } from "../../assembly/common/constants.ts";
import { DataCorruptedError } from "../abi/errors.ts";
import type { SettingValues } from "./settings.ts";

/** What to do with a page that storage has, but that is none. @internal */
export type BadPage = "error" | "zero";

/** What is done with it, parameters minded. @internal */
export type Remedy = BadPage | "accept";

/** The parameters that decide. @internal */
export type DamageSettings = Pick<SettingValues, "zero_damaged_pages" | "ignore_checksum_failure">;

/** 8 kB that are no page. @internal */
export interface PageDamage {
  /** PAGE_BAD_ constant. */
  readonly verdict: number;
  readonly error: DataCorruptedError;
}

/** @param bad - what the reader asked for @internal */
export function remedyOf(verdict: number, bad: BadPage, settings: DamageSettings): Remedy {
  if (verdict === PAGE_BAD_CHECKSUM && settings.ignore_checksum_failure) return "accept";
  return settings.zero_damaged_pages ? "zero" : bad;
}

/** What is wrong with a page, in one sentence. @internal */
export function damageText(verdict: number, calculated: number, expected: number): string {
  if (verdict === PAGE_BAD_HEADER) return "The page's header is not one.";
  return `page verification failed, calculated checksum ${calculated} but expected ${expected}`;
}

/** The error of a read that met no page. @param relation - its name @internal */
export function invalidPage(relation: string, block: number, detail: string): DataCorruptedError {
  const message = `invalid page in block ${block} of relation "${relation}"`;
  return new DataCorruptedError(message, { relation, block }, { detail });
}

/** What a warning says of a page that did not end in an error. @internal */
export function damageWarning(error: DataCorruptedError, remedy: Remedy): string {
  if (remedy === "zero") return `${error.message}; zeroing out page`;
  const where = `block ${error.block} of relation "${error.relation}"`;
  return `ignoring checksum failure in ${where}: ${error.detail}`;
}
