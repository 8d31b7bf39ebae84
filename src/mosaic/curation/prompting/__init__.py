"""Writers of prompts: templates over a taxonomy, a language model, the toybox."""
