"""Result rows -> means, a verdict, charts, and one self-contained HTML page. Knows no model."""
