/**
 * Reads a CSV file, row by row, with csv-parse: commas, quoted fields with commas, line ends and
 * doubled quotes in them, LF, CRLF or CR, UTF-8 with or without a byte-order mark. Blank lines are
 * skipped. Nothing is guessed at and nothing is repaired: a row of another length than the header,
 * a quote where none may be and bytes that are no UTF-8 are errors.
 *
 * A file is read in chunks of 1 MB and one row is in memory at a time, so its size does not matter;
 * a row may have 1 MB, which is also how a quote that is never closed is found before the file's
 * end. The file is opened once and read twice (load.ts), and must be a regular file.
 *
 * A line number is that of the row's first line, as an editor counts. csv-parse counts a CRLF
 * inside quotes as two lines, which is put right here.
 */

import { isUtf8 } from "node:buffer";
import { type FileHandle, open, stat } from "node:fs/promises";
import { CsvError, type InfoRecord, type Options, type Parser, parse } from "csv-parse";
import { PallocError } from "../../../bindings/index.ts";

/** What tells a file from another, or from itself after a change. */
export interface FileIdentity {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  /** Nanoseconds since 1970, as text. */
  readonly modified: string;
}

/** Takes what a file holds. The values of a row are as many as those of the header. */
export interface CsvVisitor {
  readonly header?: (names: readonly string[], line: number) => void;
  /** Gets a row; false to stop reading. An empty value is a missing one. */
  readonly row: (values: readonly string[], line: number) => boolean;
  /** Between two chunks: what was read so far. */
  readonly pause?: (bytesRead: number) => void;
}

const CHUNK_BYTES = 1_048_576; // 1 MB
const MAX_RECORD_BYTES = 1_048_576; // 1 MB
const NEWLINE = 10;

/** What the system says of a file that cannot be opened. */
const reasons: Readonly<Record<string, readonly [state: string, text: string]>> = {
  ENOENT: ["58P01", "No such file or directory"],
  ENOTDIR: ["58P01", "Not a directory"],
  EACCES: ["42501", "Permission denied"],
  ENAMETOOLONG: ["42602", "File name too long"],
};

/** An open CSV file. */
export class CsvFile {
  readonly identity: FileIdentity;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, identity: FileIdentity) {
    this.#handle = handle;
    this.identity = identity;
  }

  /**
   * Opens a file.
   *
   * @param path - absolute
   * @throws PallocError 58P01, 42501 or 58030 if there is none that can be read, 42809 if it is a
   *   directory or a pipe, 22P04 if it has no bytes
   */
  static async open(path: string): Promise<CsvFile> {
    // Looked at before it is opened: to open a pipe that nobody writes to would take for ever.
    const before = await orUnreadable(path, stat(path));
    if (!before.isFile()) {
      throw new PallocError("42809", `"${path}" is not a regular file`, {
        hint: "A CSV file is read twice; save what a pipe or a device gives to a file first.",
      });
    }
    const handle = await orUnreadable(path, open(path));
    try {
      const { size, mtimeNs } = await handle.stat({ bigint: true });
      const identity = { path, bytes: Number(size), modified: `${mtimeNs}` };
      if (identity.bytes === 0) throw noHeader(path);
      return new CsvFile(handle, identity);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** @throws PallocError 55000 if the file is not what it was when it was opened */
  async requireUnchanged(): Promise<void> {
    const { path, bytes, modified } = this.identity;
    const { size, mtimeNs } = await this.#handle.stat({ bigint: true });
    if (Number(size) === bytes && `${mtimeNs}` === modified) return;
    throw new PallocError("55000", `file "${path}" was changed while it was read`, {
      hint: "Run the command again when nothing writes to the file.",
    });
  }

  /**
   * Reads the file from its beginning, until its end or until the visitor wants no more.
   *
   * @throws PallocError 22P04 for what is no CSV, 22021 for what is no UTF-8, with the line; or
   *   what the visitor throws
   */
  async read(visitor: CsvVisitor): Promise<void> {
    const { path } = this.identity;
    const rows = new RowReader(path, visitor);
    const text = new Utf8Check(path);
    let bytesRead = 0;
    for (;;) {
      // A new one each time: the parser keeps the end of the last for a row that goes on.
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const { bytesRead: got } = await this.#readAt(chunk, bytesRead);
      if (got === 0) break;
      const piece = chunk.subarray(0, got);
      text.check(piece);
      await rows.write(piece);
      bytesRead += got;
      visitor.pause?.(bytesRead);
      if (rows.stopped) return;
    }
    text.end();
    await rows.end();
  }

  async #readAt(into: Buffer, position: number): Promise<{ readonly bytesRead: number }> {
    try {
      return await this.#handle.read(into, 0, into.length, position);
    } catch (cause) {
      const { path } = this.identity;
      throw new PallocError("58030", `could not read file "${path}": ${cause}`, { cause });
    }
  }
}

/** A place in a file, as messages begin with it. */
export function placeOf(path: string, line: number): string {
  return `line ${line} of file "${path}"`;
}

/** Names the file where the system refuses it. */
async function orUnreadable<Value>(path: string, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    const [state, text] = reasons[code] ?? ["58030", String(cause)];
    throw new PallocError(state, `could not open file "${path}": ${text}`, { cause });
  }
}

function noHeader(path: string): PallocError {
  return new PallocError("22P04", `file "${path}" is empty`, {
    hint: "A CSV file begins with a row of column names.",
  });
}

/** csv-parse, one chunk at a time, with line numbers. */
class RowReader {
  readonly #path: string;
  readonly #visitor: CsvVisitor;
  readonly #parser: Parser;
  /** What a callback threw, or csv-parse found; the first one counts. */
  #failure: unknown;
  #columns = 0;
  #stopped = false;
  /** Last line of the row before, as an editor counts, and as csv-parse does. */
  #line = 0;
  #countedLines = 0;
  #blankLines = 0;

  constructor(path: string, visitor: CsvVisitor) {
    this.#path = path;
    this.#visitor = visitor;
    const options: Options = {
      bom: true,
      skip_empty_lines: true,
      record_delimiter: ["\r\n", "\n", "\r"],
      max_record_size: MAX_RECORD_BYTES,
      on_record: (record, info) => this.#take(record as unknown as string[], info),
    };
    this.#parser = parse(options);
    this.#parser.on("error", (error) => this.#fail(error));
    // Rows are taken one by one above, and none is passed on; reading lets the stream end.
    this.#parser.resume();
  }

  /** Whether the visitor wants no more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Parses a chunk; all its whole rows have been visited when this settles. */
  async write(chunk: Buffer): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#parser.write(chunk, () => resolve());
    });
    this.#throwFailure();
  }

  async end(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#parser.once("close", resolve);
      this.#parser.end();
    });
    this.#throwFailure();
    if (this.#columns === 0) throw noHeader(this.#path);
  }

  #take(values: string[], info: InfoRecord): null {
    if (this.#stopped) return null;
    const first = this.#firstLine(info.empty_lines);
    const inside = info.lines - this.#countedLines - (first - this.#line);
    this.#line = first + inside - (inside === 0 ? 0 : crlfIn(values));
    this.#countedLines = info.lines;
    this.#blankLines = info.empty_lines;
    if (this.#columns === 0) {
      this.#columns = values.length;
      this.#visitor.header?.(values, first);
    } else if (!this.#visitor.row(values, first)) this.#stopped = true;
    return null;
  }

  /** First line of a row that begins after the last one taken and some blank lines. */
  #firstLine(blankLines: number): number {
    return this.#line + 1 + blankLines - this.#blankLines;
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof CsvError ? this.#explained(error) : error;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #explained(error: CsvError): PallocError {
    const blankLines: unknown = Reflect.get(error, "empty_lines");
    const line = this.#firstLine(typeof blankLines === "number" ? blankLines : this.#blankLines);
    const [what, hint] = this.#reason(error);
    return new PallocError("22P04", `${placeOf(this.#path, line)}: ${what}`, {
      hint,
      cause: error,
    });
  }

  #reason(error: CsvError): [what: string, hint: string] {
    switch (error.code as string) {
      case "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH": {
        const record: unknown = Reflect.get(error, "record");
        const found = Array.isArray(record) ? record.length : 0;
        return [
          `the row has ${counted(found, "value")}, the header ${counted(this.#columns, "column")}`,
          "Give every row as many values as there are columns; quote values that contain commas.",
        ];
      }
      case "CSV_QUOTE_NOT_CLOSED":
        return ["the row has a quote that is not closed", QUOTING];
      case "CSV_MAX_RECORD_SIZE":
        return [`the row is longer than 1 MB; perhaps a quote is not closed`, QUOTING];
      case "INVALID_OPENING_QUOTE":
        return ["the row has a quote in a value that is not quoted", QUOTING];
      case "CSV_INVALID_CLOSING_QUOTE":
      case "CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE":
        return ["the row has text after a closing quote", QUOTING];
      default:
        return [error.message, "See RFC 4180 for what a CSV file is."];
    }
  }
}

const QUOTING = 'Write a quote in a value as "", and the value in quotes.';

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Line ends that csv-parse counts twice. */
function crlfIn(values: readonly string[]): number {
  return values.reduce((sum, value) => sum + value.split("\r\n").length - 1, 0);
}

/** Finds bytes that are no UTF-8, and their line. */
class Utf8Check {
  readonly #path: string;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  /** Lines that have ended. */
  #lines = 0;
  /** The line that has not, as far as it was seen. */
  #begun: Buffer = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  check(chunk: Buffer): void {
    try {
      this.#decoder.decode(chunk, { stream: true });
    } catch (cause) {
      throw this.#error(Buffer.concat([this.#begun, chunk]), cause);
    }
    const last = chunk.lastIndexOf(NEWLINE);
    if (last >= 0) this.#begun = chunk.subarray(last + 1);
    else this.#begun = Buffer.concat([this.#begun, chunk]);
    this.#lines += countNewlines(chunk);
  }

  end(): void {
    try {
      this.#decoder.decode();
    } catch (cause) {
      throw this.#error(this.#begun, cause);
    }
  }

  #error(text: Buffer, cause: unknown): PallocError {
    const place = placeOf(this.#path, this.#lines + 1 + linesBeforeBadByte(text));
    const message = `${place}: invalid byte sequence for encoding "UTF8"`;
    return new PallocError("22021", message, { hint: "Convert the file to UTF-8.", cause });
  }
}

function countNewlines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}

/** Whole lines before the first one with a bad byte. */
function linesBeforeBadByte(text: Buffer): number {
  let lines = 0;
  let start = 0;
  for (let end = text.indexOf(NEWLINE); end >= 0; end = text.indexOf(NEWLINE, start)) {
    if (!isUtf8(text.subarray(start, end))) return lines;
    start = end + 1;
    lines += 1;
  }
  return lines;
}
