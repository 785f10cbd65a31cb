"""The signatures of an exported model and the graph behind them."""
