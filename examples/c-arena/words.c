/*
 * Counts the words of a text. Every table entry and every word is palloc'd in one context; nothing
 * is freed one by one: `forget` resets the context.
 *
 * Shows what a module may use: static data with pointers in it, a stack, function pointers.
 * How it is built stands in README.md.
 */

#include "palloc.h"

struct entry {
    struct entry *next;
    const char *word;
    unsigned length;
    unsigned count;
};

#define BUCKETS 256
#define LONGEST 32

static palloc_context arena;
static struct entry **buckets;
static const char *const ignored[] = {"the", "a", "of", "and"};

static unsigned length_of(const char *text) {
    unsigned length = 0;
    while (text[length] != 0) length += 1;
    return length;
}

static int is_same(const char *left, const char *right, unsigned length) {
    while (length > 0 && left[length - 1] == right[length - 1]) length -= 1;
    return length == 0;
}

static int is_ignored(const char *word, unsigned length) {
    for (unsigned at = 0; at < sizeof ignored / sizeof *ignored; at += 1) {
        if (length_of(ignored[at]) == length && is_same(ignored[at], word, length)) return 1;
    }
    return 0;
}

static void add(const char *word, unsigned length) {
    unsigned hash = 2166136261u;
    for (unsigned at = 0; at < length; at += 1) hash = (hash ^ (unsigned char)word[at]) * 16777619u;
    struct entry **place = &buckets[hash % BUCKETS];
    for (struct entry *found = *place; found != 0; found = found->next) {
        if (found->length == length && is_same(found->word, word, length)) {
            found->count += 1;
            return;
        }
    }
    char *copy = palloc_in(arena, length);
    for (unsigned at = 0; at < length; at += 1) copy[at] = word[at];
    struct entry *made = palloc_in(arena, sizeof *made);
    *made = (struct entry){*place, copy, length, 1};
    *place = made;
}

/* Room for a text in the arena, which is made at the first call. */
__attribute__((export_name("room"))) char *room(unsigned bytes) {
    if (arena == 0) arena = context_create(0, "words");
    return palloc_in(arena, bytes);
}

/* Counts the words of a text, in lower case, of LONGEST letters at most. */
__attribute__((export_name("count"))) void count(const char *text, unsigned length) {
    char word[LONGEST];
    unsigned used = 0;
    if (buckets == 0) {
        palloc_context before = context_switch(arena);
        buckets = palloc0(BUCKETS * sizeof *buckets);
        context_switch(before);
    }
    for (unsigned at = 0; at <= length; at += 1) {
        char letter = at < length ? (char)(text[at] | 0x20) : ' ';
        if (letter >= 'a' && letter <= 'z') {
            if (used < LONGEST) word[used++] = letter;
        } else if (used > 0) {
            if (!is_ignored(word, used)) add(word, used);
            used = 0;
        }
    }
}

static int by_count(const struct entry *left, const struct entry *right) {
    return left->count > right->count;
}

static int by_length(const struct entry *left, const struct entry *right) {
    return left->length > right->length;
}

static int (*const orders[])(const struct entry *, const struct entry *) = {by_count, by_length};

/* The entry with the highest count (order 0) or the most letters (order 1); NULL if there is none. */
__attribute__((export_name("first"))) const struct entry *first(unsigned order) {
    const struct entry *best = 0;
    for (unsigned bucket = 0; buckets != 0 && bucket < BUCKETS; bucket += 1) {
        for (const struct entry *one = buckets[bucket]; one != 0; one = one->next) {
            if (best == 0 || orders[order & 1](one, best)) best = one;
        }
    }
    return best;
}

/* Frees every text, word and entry by one reset. */
__attribute__((export_name("forget"))) void forget(void) {
    context_reset(arena);
    buckets = 0;
}
