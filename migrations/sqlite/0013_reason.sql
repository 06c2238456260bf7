-- Calls that came to nothing, by why. Those that ended as calls do are most, and found without.
CREATE INDEX cdr_reason ON cdr (end_reason) WHERE end_reason NOT GLOB 'end.*';
