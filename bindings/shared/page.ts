/**
 * The header that every page of a pool with data checksums begins with: PostgreSQL's, 24 bytes.
 *
 *      0        8        10      12      14      16        18             20          24
 *     ┌────────┬────────┬───────┬───────┬───────┬─────────┬──────────────┬───────────┬─ ─ ─
 *     │ lsn    │checksum│ flags │ lower │ upper │ special │ size|version │ prune xid │
 *     └────────┴────────┴───────┴───────┴───────┴─────────┴──────────────┴───────────┴─ ─ ─
 *
 * The pool writes the checksum; the rest is the page's user's. Free space lies between `lower` and
 * `upper`; a page whose `upper` is 0 is new.
 *
 * PostgreSQL: src/include/storage/bufpage.h, PageHeaderData; PageInit
 */

import {
  BLOCK_BYTES,
  MAX_ALIGN,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_SIZE_VERSION,
  PAGE_SIZE_VERSION_OFFSET,
  PAGE_SPECIAL_OFFSET,
  PAGE_UPPER_OFFSET,
} from "../../assembly/common/constants.ts";

/** Offsets of fields of the page header, 16-bit each, and sizes in bytes. */
export {
  BLOCK_BYTES,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_SPECIAL_OFFSET,
  PAGE_UPPER_OFFSET,
};

/**
 * Makes 8,192 bytes an empty page: clears them and writes the header.
 *
 * @param bytes - a whole page, exclusively locked and in a change
 * @param specialBytes - room at the end for the page's user, 0 to 8,168; rounded up to 8
 * @throws RangeError if `bytes` is no page or the special space does not fit
 * @see PostgreSQL: src/backend/storage/page/bufpage.c, PageInit
 */
export function initPage(bytes: Uint8Array, specialBytes = 0): void {
  const special = Math.ceil(specialBytes / MAX_ALIGN) * MAX_ALIGN;
  if (bytes.length !== BLOCK_BYTES) {
    throw new RangeError(`a page has ${BLOCK_BYTES} bytes, not ${bytes.length}`);
  }
  if (!(special >= 0 && special <= BLOCK_BYTES - PAGE_HEADER_BYTES)) {
    const most = BLOCK_BYTES - PAGE_HEADER_BYTES;
    throw new RangeError(`special space is 0 to ${most} bytes, not ${specialBytes}`);
  }
  bytes.fill(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, BLOCK_BYTES);
  view.setUint16(PAGE_LOWER_OFFSET, PAGE_HEADER_BYTES, true);
  view.setUint16(PAGE_UPPER_OFFSET, BLOCK_BYTES - special, true);
  view.setUint16(PAGE_SPECIAL_OFFSET, BLOCK_BYTES - special, true);
  view.setUint16(PAGE_SIZE_VERSION_OFFSET, PAGE_SIZE_VERSION, true);
}
