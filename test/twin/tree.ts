// The tree of contexts as the twin sees it: objects with lists of children, newest first, where
// wasm links headers.

/** Links of one context. */
interface Node {
  readonly address: number;
  parent: Node | null;
  /** Newest first. */
  readonly children: Node[];
}

/** Which context stands under which. */
export class TwinTree {
  readonly #nodes = new Map<number, Node>();

  /** Puts a new context before its siblings; parent 0 makes it a root. */
  add(context: number, parent: number): void {
    const above = this.#nodes.get(parent) ?? null;
    const node: Node = { address: context, parent: above, children: [] };
    this.#nodes.set(context, node);
    above?.children.unshift(node);
  }

  /** Forgets a context that has no children. */
  remove(context: number): void {
    this.#unlink(this.#nodeOf(context));
    this.#nodes.delete(context);
  }

  /** Puts a context before the children of another, unless it is one of them. */
  move(context: number, parent: number): void {
    const node = this.#nodeOf(context);
    if ((node.parent?.address ?? 0) === parent) return;
    this.#unlink(node);
    node.parent = this.#nodes.get(parent) ?? null;
    node.parent?.children.unshift(node);
  }

  /** The context linked last of those directly below. */
  firstChild(context: number): number | undefined {
    return this.#nodeOf(context).children[0]?.address;
  }

  /** Addresses of the contexts directly below, newest first. */
  children(context: number): number[] {
    return this.#nodeOf(context).children.map(({ address }) => address);
  }

  #unlink(node: Node): void {
    const siblings = node.parent?.children;
    siblings?.splice(siblings.indexOf(node), 1);
    node.parent = null;
  }

  #nodeOf(context: number): Node {
    const node = this.#nodes.get(context);
    if (node === undefined) throw new Error(`no context at ${context}`);
    return node;
  }
}
