def tabular_figures(model, table): return {}
def tabular_media(model, batch): return None
