-- What a node has used according to its own book, or to one that saw it here, where a failover or a loss
-- has forgotten some of it. Never lowers anything.
-- KEYS: one of the buckets  ARGV: node, then per bucket: key, kind, used by the node, expires at ms
-- (0: never, -n: n ms after now unless known). Kind: `u` of a window, `g` of spacing, else the slice
-- of a rolling window.
-- Answers how many buckets had less.
return raise_used(ARGV[1], 2)
