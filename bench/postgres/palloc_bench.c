/*
 * Times what PostgreSQL does inside its server, one operation at a time, for `npm run bench`.
 *
 *   palloc_bench(operation text, relation oid, pages int, milliseconds int) returns float8
 *
 * The answer is nanoseconds an operation: the median of three samples of at least `milliseconds`
 * each, after one call that is not timed. Every operation is called as another C file of the server
 * would call it, without the function manager in between, so that what is timed is PostgreSQL's
 * best. An operation that did not do what its name says ends in an error, never in a number.
 *
 * Written for PostgreSQL 15, from its header files.
 */
#include "postgres.h"

#include <time.h>

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/pg_type_d.h"
#include "executor/instrument.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_MODULE_MAGIC;

/* Operations in one call of a loop, for operations that have no pages to go through. */
#define OPERATIONS 2000
#define SAMPLES 3
#define REQUEST_BYTES 100
/* Passes over a relation before its pages must all be in the pool. */
#define LOADING_PASSES 20
#define ADVISORY_KEY 0x9a110c

/* What a loop works on. */
typedef struct Bench
{
	Oid			relid;
	Relation	relation;
	BlockNumber *blocks;
	int			pages;
	LWLock		lock;
	/* Depends on the work, and is stored each time, so that nothing is left out. */
	volatile uint64 sum;
} Bench;

/* Does some operations and says how many. */
typedef int (*Loop) (Bench *bench);

static int
hit(Bench *bench)
{
	for (int i = 0; i < bench->pages; i++)
	{
		Buffer		buffer = ReadBuffer(bench->relation, bench->blocks[i]);

		bench->sum += (uintptr_t) BufferGetPage(buffer);
		ReleaseBuffer(buffer);
	}
	return bench->pages;
}

static int
context_life(Bench *bench)
{
	for (int i = 0; i < OPERATIONS; i++)
	{
		MemoryContext request = AllocSetContextCreate(CurrentMemoryContext, "request",
													  ALLOCSET_DEFAULT_SIZES);

		bench->sum += (uintptr_t) MemoryContextAlloc(request, REQUEST_BYTES);
		MemoryContextDelete(request);
	}
	return OPERATIONS;
}

/* One lock of the lock manager, acquired and released `OPERATIONS` times. */
static int
lock_pairs(const LOCKTAG *tag, LOCKMODE mode, bool session)
{
	for (int i = 0; i < OPERATIONS; i++)
	{
		if (LockAcquire(tag, mode, session, false) != LOCKACQUIRE_OK)
			elog(ERROR, "the lock was held already");
		LockRelease(tag, mode, session);
	}
	return OPERATIONS;
}

static int
advisory_lock(Bench *bench)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, ADVISORY_KEY, 1);
	return lock_pairs(&tag, ExclusiveLock, true);
}

static int
relation_lock(Bench *bench)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, bench->relid);
	return lock_pairs(&tag, AccessShareLock, false);
}

static int
lwlock_exclusive(Bench *bench)
{
	for (int i = 0; i < OPERATIONS; i++)
	{
		bench->sum += LWLockAcquire(&bench->lock, LW_EXCLUSIVE);
		LWLockRelease(&bench->lock);
	}
	return OPERATIONS;
}

static int
lwlock_shared(Bench *bench)
{
	for (int i = 0; i < OPERATIONS; i++)
	{
		bench->sum += LWLockAcquire(&bench->lock, LW_SHARED);
		LWLockRelease(&bench->lock);
	}
	return OPERATIONS;
}

static int
catalog_hit(Bench *bench)
{
	for (int i = 0; i < OPERATIONS; i++)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(INT4OID));

		bench->sum += (uintptr_t) tuple;
		ReleaseSysCache(tuple);
	}
	return OPERATIONS;
}

/* ---- Gates: an operation that is not what its name says is not timed ---- */

/* Every block once, in an order without a pattern: a Fisher-Yates shuffle over a Weyl sequence. */
static void
shuffle(Bench *bench)
{
	uint32		state = 1;

	bench->blocks = palloc(sizeof(BlockNumber) * bench->pages);
	for (int i = 0; i < bench->pages; i++)
		bench->blocks[i] = i;
	for (int last = bench->pages - 1; last > 0; last--)
	{
		uint64		mixed = state += 0x9e3779b9;
		int			other;
		BlockNumber block = bench->blocks[last];

		mixed = ((mixed ^ (mixed >> 16)) * 0x85ebca6b) & 0xffffffff;
		mixed ^= mixed >> 13;
		other = (int) ((mixed * (last + 1)) >> 32);
		bench->blocks[last] = bench->blocks[other];
		bench->blocks[other] = block;
	}
}

static void
open_pages(Bench *bench)
{
	bench->relation = relation_open(bench->relid, AccessShareLock);
	if (RelationGetNumberOfBlocks(bench->relation) < bench->pages)
		elog(ERROR, "the relation has less than %d pages", bench->pages);
	shuffle(bench);
	for (int pass = 0; pass < LOADING_PASSES; pass++)
	{
		int64		reads = pgBufferUsage.shared_blks_read;

		CHECK_FOR_INTERRUPTS();
		hit(bench);
		if (pgBufferUsage.shared_blks_read == reads)
			return;
	}
	elog(ERROR, "%d pages do not stay in the pool", bench->pages);
}

/* After timing: every page was found in the pool. */
static void
check_hits(const BufferUsage *before, int64 operations)
{
	int64		hits = pgBufferUsage.shared_blks_hit - before->shared_blks_hit;

	if (pgBufferUsage.shared_blks_read != before->shared_blks_read || hits != operations)
		elog(ERROR, "%lld of %lld pages were hits", (long long) hits, (long long) operations);
}

/* A weak lock on a relation must be one of the few that a backend keeps to itself. */
static void
check_fast_path(Bench *bench)
{
	LOCKTAG		tag;
	uint64		before = MyProc->fpLockBits;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, bench->relid);
	if (LockAcquire(&tag, AccessShareLock, false, false) != LOCKACQUIRE_OK)
		elog(ERROR, "the relation was locked already");
	if (MyProc->fpLockBits == before)
		elog(ERROR, "the relation lock did not take the fast path");
	LockRelease(&tag, AccessShareLock, false);
}

/* ---- Timing ---- */

static double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static double
take_sample(Loop loop, Bench *bench, double least_ns, int64 *operations)
{
	double		start = now_ns();
	double		elapsed;
	int64		done = 0;

	do
	{
		done += loop(bench);
		elapsed = now_ns() - start;
	} while (elapsed < least_ns);
	*operations += done;
	return elapsed / done;
}

/* The middle one of three. */
static double
median(const double *samples)
{
	double		low = Min(samples[0], samples[1]);
	double		high = Max(samples[0], samples[1]);

	return Max(low, Min(high, samples[2]));
}

typedef struct Operation
{
	const char *name;
	Loop		loop;
} Operation;

static const Operation operations[] = {
	{"hit", hit},
	{"context-life", context_life},
	{"advisory-lock", advisory_lock},
	{"relation-lock", relation_lock},
	{"lwlock", lwlock_exclusive},
	{"lwlock-shared", lwlock_shared},
	{"catalog-hit", catalog_hit},
};

static Loop
find_loop(const char *name)
{
	for (int i = 0; i < lengthof(operations); i++)
		if (strcmp(operations[i].name, name) == 0)
			return operations[i].loop;
	elog(ERROR, "there is no operation \"%s\"", name);
	return NULL;				/* not reached */
}

PG_FUNCTION_INFO_V1(palloc_bench);

Datum
palloc_bench(PG_FUNCTION_ARGS)
{
	Loop		loop = find_loop(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	double		least_ns = PG_GETARG_INT32(3) * 1e6;
	double		samples[SAMPLES];
	int64		done = 0;
	BufferUsage before;
	Bench		bench = {.relid = PG_GETARG_OID(1),.pages = PG_GETARG_INT32(2)};

	LWLockInitialize(&bench.lock, LWTRANCHE_FIRST_USER_DEFINED);
	if (loop == hit)
		open_pages(&bench);
	if (loop == relation_lock)
		check_fast_path(&bench);
	loop(&bench);
	before = pgBufferUsage;
	for (int i = 0; i < SAMPLES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		samples[i] = take_sample(loop, &bench, least_ns, &done);
	}
	if (loop == hit)
	{
		check_hits(&before, done);
		relation_close(bench.relation, AccessShareLock);
	}
	PG_RETURN_FLOAT8(median(samples));
}
