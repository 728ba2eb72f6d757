/*
 * What a C program compiled to WebAssembly imports from a palloc ProcessMemory.
 *
 * None of these returns NULL: what cannot be answered throws a JavaScript error through the C
 * frames, as PostgreSQL's errors pass through them. What was allocated by then goes with its
 * context.
 */
#ifndef PALLOC_H
#define PALLOC_H

typedef __SIZE_TYPE__ palloc_size;
/* Address of a context; MemoryContext.address on the JavaScript side. */
typedef struct palloc_context *palloc_context;

/* In the current context, the memory's top at first; palloc0 clears the bytes. */
void *palloc(palloc_size bytes);
void *palloc0(palloc_size bytes);
void *palloc_in(palloc_context context, palloc_size bytes);
void *repalloc(void *chunk, palloc_size bytes);
void pfree(void *chunk);

/* A parent of 0 is the current context. */
palloc_context context_create(palloc_context parent, const char *name);
/* Frees what is in it, and deletes every context below it. */
void context_reset(palloc_context context);
void context_delete(palloc_context context);
/* Makes it current; the one that was. */
palloc_context context_switch(palloc_context context);

#endif
