pub struct Node;
impl Node {
    pub async fn prepare(_c: crate::config::Config) -> crate::output::Result<Self> {
        todo!()
    }
    pub async fn run(self, _s: bool) -> crate::output::Result<()> {
        todo!()
    }
}
