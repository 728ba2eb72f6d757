/**
 * One data directory, one process: a second one would drop the table the first is loading. What is
 * held is a listening local socket named after the directory's device and inode, because the system
 * takes it back however a process ends; a file with a process id would outlive a `kill -9`, and ids
 * come again.
 *
 *   Linux     an abstract socket, which is no file
 *   Windows   a named pipe
 *   others    a socket file in the temporary directory; one that nobody answers on is left over
 *             from a killed process and is replaced
 *
 * Two containers that share a directory do not see each other's sockets.
 *
 * PostgreSQL: src/backend/utils/init/miscinit.c, CreateDataDirLockFile
 */

import { createHash } from "node:crypto";
import { statSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PallocError } from "../../bindings/index.ts";

/** A directory that this process alone uses, until it is released. */
export interface Interlock {
  readonly release: () => void;
}

/**
 * Takes a directory for this process.
 *
 * @throws PallocError 55006 if another process, or another caller in this one, has it
 */
export async function interlock(directory: string): Promise<Interlock> {
  const address = addressOf(directory);
  const isFile = process.platform !== "linux" && process.platform !== "win32";
  let server = await listen(address);
  if (server === undefined && isFile && !(await answers(address))) {
    unlinkSync(address);
    server = await listen(address);
  }
  if (server === undefined) {
    throw new PallocError("55006", `data directory "${directory}" is in use by another process`, {
      hint: "Wait until that one has ended, or use another directory.",
    });
  }
  const held = server;
  return { release: () => held.close() };
}

function addressOf(directory: string): string {
  const { dev, ino } = statSync(directory, { bigint: true });
  const name = `palloc-${createHash("sha256").update(`${dev}:${ino}`).digest("hex").slice(0, 32)}`;
  if (process.platform === "linux") return `\0${name}`;
  return process.platform === "win32" ? `\\\\.\\pipe\\${name}` : join(tmpdir(), `${name}.sock`);
}

/** A server that does not keep the process alive; undefined if the address is taken. */
function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => resolve(server.unref()));
  });
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
