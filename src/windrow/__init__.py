"""Raw text to the batches that train GPT-like models; every batch is a pure function of (data, recipe, position)."""
