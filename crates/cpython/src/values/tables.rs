//! Tables of pandas, by how many rows and columns they have.

use invivo_model::{Address, ValueKind};
use invivo_process::{Fault, Memory};

use super::attributes::Name;
use super::picture::Picture;
use super::shapes::Shape;
use crate::pieces::Piece;

/// How long tables are in each dimension, and what was read to tell it.
#[derive(Debug, Default)]
pub(super) struct Extents {
    pub(super) sizes: Vec<Option<Vec<u64>>>,
    pub(super) evidence: Vec<Piece>,
}

impl<M: Memory> Picture<'_, M> {
    /// The rows and columns of each of these data frames and series, as far as their axes tell.
    pub(super) fn extents(&mut self, tables: &[&Shape]) -> Result<Extents, Fault> {
        let mut evidence = Vec::new();
        let sizes = self.sizes(tables, &mut evidence)?;
        Ok(Extents { sizes, evidence })
    }

    fn sizes(
        &mut self,
        tables: &[&Shape],
        evidence: &mut Vec<Piece>,
    ) -> Result<Vec<Option<Vec<u64>>>, Fault> {
        let managers = tables.iter().map(|table| attribute(table, "_mgr"));
        let managers = self.follow(managers.collect(), evidence)?;
        let lists = managers
            .iter()
            .map(|manager| attribute(manager.as_ref()?, "axes"));
        let lists = self.follow(lists.collect(), evidence)?;
        let mut extents = Vec::new();
        for list in lists {
            extents.push(self.extent(list, evidence)?);
        }
        Ok(extents)
    }

    /// How long the axes in a list are: the rows stand behind the columns.
    fn extent(
        &mut self,
        list: Option<Shape>,
        evidence: &mut Vec<Piece>,
    ) -> Result<Option<Vec<u64>>, Fault> {
        let Some(Shape::Row(_, axes)) = list else {
            return Ok(None);
        };
        if !(1..=2).contains(&axes.length) || axes.items.len() as u64 != axes.length {
            return Ok(None);
        }
        let axes = axes.items.into_iter().rev().map(Some).collect();
        let axes = self.follow(axes, evidence)?;
        let data = axes.iter().map(|axis| {
            let axis = axis.as_ref()?;
            attribute(axis, "_range").or_else(|| attribute(axis, "_data"))
        });
        let data = self.follow(data.collect(), evidence)?;
        let mut lengths = Vec::new();
        for data in data {
            let Some(length) = self.items_of(data, evidence)? else {
                return Ok(None);
            };
            lengths.push(length);
        }
        Ok(Some(lengths))
    }

    /// How many items there are in an array of numpy, one of pandas around it, or a range.
    fn items_of(
        &mut self,
        data: Option<Shape>,
        evidence: &mut Vec<Piece>,
    ) -> Result<Option<u64>, Fault> {
        let Some(data) = data else { return Ok(None) };
        if let Some(array) = attribute(&data, "_ndarray") {
            let array = self.follow(vec![Some(array)], evidence)?.pop().flatten();
            return Ok(array.as_ref().and_then(rows));
        }
        let ends = ["start", "stop", "step"].map(|name| attribute(&data, name));
        if ends.contains(&None) {
            return Ok(rows(&data));
        }
        let ends = self.follow(ends.to_vec(), evidence)?;
        let ends: Option<Vec<_>> = ends.iter().map(|end| integer(end.as_ref()?)).collect();
        let Some([start, stop, step]) = ends.as_deref() else {
            return Ok(None);
        };
        let (way, step) = match step {
            0 => return Ok(None),
            1.. => (stop.saturating_sub(*start), *step),
            _ => (start.saturating_sub(*stop), step.saturating_neg()),
        };
        Ok(u64::try_from(way.max(0))
            .ok()
            .map(|way| way.div_ceil(step.unsigned_abs())))
    }

    /// The shapes of these objects; what was read for them is added to `evidence`.
    fn follow(
        &mut self,
        objects: Vec<Option<Address>>,
        evidence: &mut Vec<Piece>,
    ) -> Result<Vec<Option<Shape>>, Fault> {
        let there: Vec<_> = objects.iter().flatten().copied().collect();
        let (shapes, pieces) = self.bare_shapes(&there)?;
        evidence.extend(pieces);
        let mut shapes = shapes.into_iter();
        let each = objects.into_iter().map(|object| {
            object?;
            shapes.next()
        });
        Ok(each.collect())
    }
}

fn attribute(shape: &Shape, wanted: &str) -> Option<Address> {
    let Shape::Instance(_, attributes) = shape else {
        return None;
    };
    let mut found = attributes
        .items
        .iter()
        .filter_map(|(name, value)| match name {
            Name::Known(name) if name.text == wanted => Some(*value),
            _ => None,
        });
    found.next()
}

/// The first extent of an array.
fn rows(shape: &Shape) -> Option<u64> {
    match shape {
        Shape::Leaf(ValueKind::Array { shape, .. }) => shape.as_ref()?.first().copied(),
        _ => None,
    }
}

fn integer(shape: &Shape) -> Option<i64> {
    match shape {
        Shape::Leaf(ValueKind::Int(digits)) => digits.parse().ok(),
        _ => None,
    }
}
