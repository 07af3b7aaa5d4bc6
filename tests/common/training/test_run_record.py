from common.training.run_record import Throughput
from tests.common.training.test_monitors import model, trainer


def test_throughput_counts_examples_and_survives_a_checkpoint(digits, tmp_path):
    throughput = Throughput()
    trainer(tmp_path, throughput, max_epochs=2).fit(model(digits), digits)
    assert throughput.examples == 2 * 5 * 50
    assert 0 < throughput.seconds < 100
    again = Throughput()
    again.load_state_dict(throughput.state_dict())
    assert (again.examples, again.seconds) == (throughput.examples, throughput.seconds)
