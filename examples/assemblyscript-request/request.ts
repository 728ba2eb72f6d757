// AssemblyScript that compiles palloc's allocator in: a request makes hundreds of small objects of
// several sizes, none is freed one by one, one reset ends them all.
//
// The objects are `@unmanaged` classes in chunks of a context. There is no garbage collector and no
// runtime: `new` is not used. README.md says which options the compiler needs.

import { Statistics } from "palloc/assembly/mmgr/header";
import { alloc, createContext, initialize, reset, statistics } from "palloc/assembly/process";

const PAGES: u32 = 64; // 4 MB
const MAXIMUM_PAGES: u32 = 1024; // 64 MB
const FIRST_BLOCK: u32 = 8192;
const LARGEST_BLOCK: u32 = 8388608;
const BUCKETS: u32 = 64;

@unmanaged
class Order {
  product: u32;
  quantity: u32;
  next: Order | null;
}

/** How much of a product the orders of one request ask for. */
@unmanaged
class Tally {
  product: u32;
  quantity: u32;
  orders: Order | null;
  next: Tally | null;
}

let request: usize = 0;

/** Takes the memory over and makes the context that every request uses. Called once. */
export function start(): void {
  memory.grow(<i32>PAGES - memory.size());
  initialize(PAGES, MAXIMUM_PAGES, 0);
  const top = createContext(0, 0, FIRST_BLOCK, LARGEST_BLOCK, 0);
  request = createContext(top, 0, FIRST_BLOCK, LARGEST_BLOCK, 0);
}

/**
 * Handles a request of `count` orders: sorts them into tallies by product, and answers the largest
 * quantity that any product is wanted in.
 */
export function handle(count: u32, products: u32): u32 {
  const buckets = alloc(request, BUCKETS * sizeof<usize>());
  memory.fill(buckets, 0, BUCKETS * sizeof<usize>());
  let most: u32 = 0;
  for (let number: u32 = 0; number < count; number += 1) {
    const order = changetype<Order>(alloc(request, offsetof<Order>()));
    order.product = (number * 7) % products;
    order.quantity = number % 5;
    const tally = tallyOf(buckets, order.product);
    order.next = tally.orders;
    tally.orders = order;
    tally.quantity += order.quantity;
    most = max(most, tally.quantity);
  }
  return most;
}

function tallyOf(buckets: usize, product: u32): Tally {
  const bucket = buckets + (product % BUCKETS) * sizeof<usize>();
  let found = changetype<Tally | null>(load<usize>(bucket));
  while (found !== null && found.product != product) found = found.next;
  if (found !== null) return found;
  const made = changetype<Tally>(alloc(request, offsetof<Tally>()));
  made.product = product;
  made.quantity = 0;
  made.orders = null;
  made.next = changetype<Tally | null>(load<usize>(bucket));
  store<usize>(bucket, changetype<usize>(made));
  return made;
}

/** Ends the request: everything it made is free again. */
export function finish(): void {
  reset(request);
}

/** Bytes of blocks that the request's context holds, and of them in use. */
export function heldBytes(): u32 {
  statistics(request, false);
  return Statistics.get().totalBytes;
}

export function usedBytes(): u32 {
  statistics(request, false);
  return Statistics.get().totalBytes - Statistics.get().freeBytes;
}
