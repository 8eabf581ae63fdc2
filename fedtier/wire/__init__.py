"""What travels: topics, control messages, blobs and the parts they are cut into. All pure."""
