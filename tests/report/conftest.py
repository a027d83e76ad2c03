from tests.support.patience import patience

__all__ = ["patience"]
