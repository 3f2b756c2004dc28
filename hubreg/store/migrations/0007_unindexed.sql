-- Small files may wait for ever to be indexed: whoever looks for one that is large enough passes them by.

CREATE INDEX unindexed_by_size ON unindexed (size);
