"""Use of the codebooks (codes used, perplexity, dead codes) per vocabulary and depth; token cosine to the teacher."""
protocol = dict(type='Scores', metrics=dict(code_usage=dict(type='CodeUsage'), token_cosine=dict(type='TokenCosine')))
