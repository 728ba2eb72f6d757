// The free areas of the block provider as a search tree, ordered by size, then by address. The tree
// is a treap: it balances itself by priorities that are a hash of the address, so depth is
// logarithmic whatever the order of requests, and the same history gives the same places.
//
// PostgreSQL: none; stands in for malloc

import { invariant } from "../common/check";
import { PANIC_AREA_TREE } from "../common/constants";
import { Area } from "./area";
import { ProcessHeader } from "./header";

/** A place that holds a link of the tree: the root or a member's left or right. */
@unmanaged
class Link {
  area: Area | null;

  @inline static root(): Link {
    return changetype<Link>(
      changetype<usize>(ProcessHeader.get()) + offsetof<ProcessHeader>("freeRoot"),
    );
  }

  @inline static left(area: Area): Link {
    return changetype<Link>(area.address + offsetof<Area>("left"));
  }

  @inline static right(area: Area): Link {
    return changetype<Link>(area.address + offsetof<Area>("right"));
  }
}

/** The smallest free area of at least `size`, the lowest among equals. */
export function bestFit(size: u32): Area | null {
  let best: Area | null = null;
  let area = Link.root().area;
  // Ends at a leaf: the tree is finite and each step descends.
  while (area !== null) {
    if (area.size < size) area = area.right;
    else {
      best = area;
      area = area.left;
    }
  }
  return best;
}

/** The largest free area, or null. */
export function largest(): Area | null {
  let found: Area | null = null;
  let area = Link.root().area;
  while (area !== null) {
    found = area;
    area = area.right;
  }
  return found;
}

/** Balance of the tree: a hash of the address, the larger the nearer to the root. */
function priority(area: Area): u32 {
  let hash = <u32>area.address;
  hash = (hash ^ (hash >>> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >>> 13)) * 0xc2b2ae35;
  return hash ^ (hash >>> 16);
}

/** Puts a free area with a valid tag into the tree. */
export function insert(area: Area): void {
  const own = priority(area);
  let link = Link.root();
  let other = link.area;
  while (other !== null && priority(other) >= own) {
    link = area.isBefore(other) ? Link.left(other) : Link.right(other);
    other = link.area;
  }
  link.area = area;
  // What hung here is split: everything before the new member goes left of it, the rest right.
  let before = Link.left(area);
  let after = Link.right(area);
  while (other !== null) {
    if (other.isBefore(area)) {
      before.area = other;
      before = Link.right(other);
      other = before.area;
    } else {
      after.area = other;
      after = Link.left(other);
      other = after.area;
    }
  }
  before.area = null;
  after.area = null;
}

/** Takes a free area out of the tree; its tag is as it was when it was inserted. */
export function remove(area: Area): void {
  let link = Link.root();
  let other = link.area;
  while (other !== null && other !== area) {
    link = area.isBefore(other) ? Link.left(other) : Link.right(other);
    other = link.area;
  }
  if (CHECKING) invariant(other === area, PANIC_AREA_TREE);
  let before = area.left;
  let after = area.right;
  while (before !== null && after !== null) {
    if (priority(before) >= priority(after)) {
      link.area = before;
      link = Link.right(before);
      before = link.area;
    } else {
      link.area = after;
      link = Link.left(after);
      after = link.area;
    }
  }
  link.area = before === null ? after : before;
}

/** Whether an area is found where its order says. */
export function isInTree(area: Area): bool {
  let other = Link.root().area;
  while (other !== null && other !== area) {
    other = area.isBefore(other) ? other.left : other.right;
  }
  return other === area;
}
