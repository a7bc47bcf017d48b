"""Event-time windows: figures of each window, over all and by slice, in bounded memory."""
