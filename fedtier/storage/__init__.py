"""What must survive a crash, and how it is written: durable records, and the spool."""
