import { LabIcon } from '@jupyterlab/ui-components';
import cellsOnServerSvg from '../style/icons/cells-on-server.svg';
import executionSvg from '../style/icons/execution.svg';

/** A play triangle inside a clock: run in the background. */
export const executionIcon = new LabIcon({
  name: 'jupyter-exec-ext:execution',
  svgstr: executionSvg
});

/** Two racks of a server with a play triangle: run cells on the server. */
export const cellsOnServerIcon = new LabIcon({
  name: 'jupyter-exec-ext:cells-on-server',
  svgstr: cellsOnServerSvg
});
