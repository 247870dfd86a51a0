"""Publishing by pipelines of XADD, and deduplication of repeated attempts."""
