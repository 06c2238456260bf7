-- Whether the server still knows what a node has told it.
-- KEYS: gate  ARGV: gate that the node told behind
-- Answers 1 it does and is open, 0 it may have been emptied.
return is_open(KEYS[1], ARGV[1]) and 1 or 0
