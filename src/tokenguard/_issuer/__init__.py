"""Whatever is asked of an authorization server, as generators that yield the effects they need. No I/O."""
