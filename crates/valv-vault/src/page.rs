/// Which page of a list.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// 1 to 25.
    pub max: usize,
    /// The marker of the page before.
    pub after: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The marker to ask the next page with: the upper-cased name, or version, of the last item seen. None on the last page.
    pub next: Option<String>,
}
