"""Local servers that behave as the publishers' and the practice systems' do, for tests, benches and the demo. They can
be made hostile."""
