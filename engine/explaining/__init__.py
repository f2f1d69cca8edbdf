"""An explainer and its parts: baselines, scores, photos, embeddings, and what it checks."""
