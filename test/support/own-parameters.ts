// Parameters that PostgreSQL does not have: what compares with a server leaves them out.

/** Names, sorted. */
export const OURS_ALONE: readonly string[] = ["catalog_cache_private_size", "catalog_cache_size"];
