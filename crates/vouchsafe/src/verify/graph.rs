//! The binding graph, drawn as a tree from the key that is to be certified.

use vouchsafe_verifier::{Edge, Node};

use crate::console::wrapped;

/// The graph in lines, each beginning with `indent` spaces.
pub fn draw(edges: &[Edge], label: impl Fn(Node) -> String, indent: usize) -> String {
    let mut drawing = Drawing { edges, label, drawn: vec![false; edges.len()], seen: Vec::new(), text: String::new() };
    let margin = " ".repeat(indent);
    // What hangs on the key first; then whatever does not.
    let mut roots = vec![Node::CsrKey];
    roots.extend(edges.iter().map(|edge| edge.from));
    for root in roots {
        let open = drawing.open_edges(root);
        if open.is_empty() || drawing.seen.contains(&root) {
            continue;
        }
        drawing.seen.push(root);
        let line = format!("{margin}{}\n", (drawing.label)(root));
        drawing.text.push_str(&line);
        drawing.children(root, &margin);
    }
    drawing.text
}

struct Drawing<'a, L> {
    edges: &'a [Edge],
    label: L,
    drawn: Vec<bool>,
    seen: Vec<Node>,
    text: String,
}

impl<L: Fn(Node) -> String> Drawing<'_, L> {
    /// Edges at `node` that are not drawn yet, with the node at their other end.
    fn open_edges(&self, node: Node) -> Vec<(usize, Node)> {
        let open = |(index, edge): (usize, &Edge)| {
            let other = match (edge.from == node, edge.to == node) {
                (true, _) => edge.to,
                (false, true) => edge.from,
                (false, false) => return None,
            };
            (self.drawn.get(index) == Some(&false)).then_some((index, other))
        };
        self.edges.iter().enumerate().filter_map(open).collect()
    }

    fn children(&mut self, node: Node, margin: &str) {
        let open = self.open_edges(node);
        let mut known = Vec::new();
        // All edges are claimed before any is followed, so that none is drawn twice.
        for (index, other) in &open {
            known.push(self.seen.contains(other));
            self.seen.push(*other);
            if let Some(drawn) = self.drawn.get_mut(*index) {
                *drawn = true;
            }
        }
        for (place, ((index, other), known)) in open.iter().zip(known).enumerate() {
            let (branch, below) = if place + 1 == open.len() { ("└─", "   ") } else { ("├─", "│  ") };
            let Some(edge) = self.edges.get(*index) else { continue };
            let again = if known { " (see there)" } else { "" };
            let line = format!("{margin}{branch} by {}: {}{again}\n", edge.by.label(), (self.label)(*other));
            self.text.push_str(&line);
            let deeper = format!("{margin}{below}");
            if let Some(note) = edge.note {
                self.text.push_str(&prefixed(&deeper, note));
            }
            if !known {
                self.children(*other, &deeper);
            }
        }
    }
}

/// `note` in lines that begin with `margin`, which goes on beside it.
fn prefixed(margin: &str, note: &str) -> String {
    let width = margin.chars().count();
    wrapped(note, width).lines().map(|line| format!("{margin}{}\n", line.trim_start())).collect()
}

#[cfg(test)]
mod tests {
    use vouchsafe_verifier::By;

    use super::*;

    #[test]
    fn every_edge_is_drawn_once() {
        let edge = |from, to, by| Edge { from, to, by, note: None };
        let edges = [
            edge(Node::AttestingKey(0), Node::Statement(0), By::Signature),
            edge(Node::AttestingKey(0), Node::Statement(1), By::Signature),
            edge(Node::CsrKey, Node::Statement(0), By::Spki),
            edge(Node::CsrKey, Node::Statement(1), By::Spki),
            edge(Node::AttestingKey(7), Node::Statement(9), By::Signature),
        ];
        let text = draw(&edges, |node| node.to_string(), 2);
        let expected = "  csr-key
  ├─ by spki: statement:0
  │  └─ by signature: ak:0
  │     └─ by signature: statement:1 (see there)
  └─ by spki: statement:1
  ak:7
  └─ by signature: statement:9
";
        assert_eq!(text, expected);
    }
}
